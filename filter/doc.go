// Package filter keeps the agent's nftables table: what IPVS itself cannot do, and which of the IPVS entries are ours.
//
//	table inet kube-ipvs
//	  owned-ipv4, owned-ipv6                     address . protocol . port   every frontend that the agent made
//	  masquerade-{ipv4,ipv6}-{tcp,udp,sctp}      address . port              those whose clients are masqueraded
//	  chain postrouting (nat, priority srcnat)   one rule for each masquerade set
//
// What flows in are Changes of these sets, each one transaction. IPVS entries carry no owner, so the keys of ours stand
// here: the table has the same life and the same network namespace as the IPVS table, and the transaction that marks a
// frontend as ours is the one that protects it. The caller adds before it serves, and deletes after it has stopped:
//
//	additions ─► virtual servers, real servers ... serving ... virtual servers gone ─► deletions
//
// At the start, Read says what an agent before this one left; if it is not Intact, Ensure mends it and keeps what is there.
// When Watch tells of a change by somebody else, and when Apply finds the table missing, Replace puts all of it back.
//
// Nothing is marked. With net.ipv4.vs.conntrack=1 IPVS changes only the reply direction of a connection's conntrack
// entry, so postrouting still finds the address and port that the client connected to in the original direction.
// They are looked up with the protocol: a process on the same port of another address, or of another protocol, is never
// touched.
//
// Choices that are not obvious, measured with nft 1.0.6 on Linux 6.1 and 6.18:
//
//   - One table of family inet holds both families: a change of a dual-stack Service is one transaction.
//     "ct original ip daddr" does not match packets of the other family, so the sets need no further guard; the rules
//     name the family nevertheless, for the reader.
//   - There is a masquerade set for each protocol, since "ct original proto-dst" has a type only after a rule has named
//     the protocol: nft refuses the concatenation address . protocol . port ("variable sized data types").
//   - Elements are deleted by adding and deleting them in one transaction: "destroy element" needs Linux 6.3 and nft 1.0.7,
//     and "delete element" fails the whole transaction if somebody was there first.
//   - The version of the layout stands in the comments of the rules, because nft 1.0.6 lists neither the comment of a table
//     nor that of a chain in its JSON output.
//
// The package knows nothing of Kubernetes and does not log.
package filter
