// Package filter keeps the agent's nftables table: what IPVS itself cannot do, and which of the IPVS entries are ours.
//
//	table inet kube-ipvs
//	  owned-{ipv4,ipv6}                       address . protocol . port       every frontend that the agent made
//	  internal-{ipv4,ipv6}                    address . protocol . port       those that nobody outside may connect to
//	  masquerade-{ipv4,ipv6}-{tcp,udp,sctp}   address . port : verdict        those of which clients are masqueraded, and which
//	  pods-{ipv4,ipv6}                        prefixes                        the pods of this node
//
//	  chain input        (filter, priority filter)   new connection, in internal ─► outside
//	  chain postrouting  (nat, priority srcnat)      in masquerade ─► masquerade-pods, -remote or -all
//	  chain outside                                  this node, its pods: return; everybody else: drop
//
// What flows in are Changes of these sets and maps, each one transaction. IPVS entries carry no owner, so the keys of ours
// stand here: the table has the same life and the same network namespace as the IPVS table, and the transaction that marks
// a frontend as ours is the one that protects it. The caller adds before it serves, and deletes after it has stopped:
//
//	additions ─► virtual servers, real servers ... serving ... virtual servers gone ─► deletions
//
// At the start, Read says what an agent before this one left; if it is not Intact, Ensure mends it and keeps what is there.
// When Watch tells of a change by somebody else, and when Apply finds the table out of step, Replace puts all of it back.
//
// Nothing is marked. A request passes the input hook with the address and port that the client connected to, before IPVS
// takes it (priority filter is 0, IPVS stands at 99). With net.ipv4.vs.conntrack=1 IPVS changes only the reply direction
// of a connection's conntrack entry, so postrouting still finds that address and port in the original direction. They are
// looked up with the protocol: a process on the same port of another address, or of another protocol, is never touched.
// Both chains decide once for a connection, at its first packet: what changes later touches no connection that is there.
//
// Choices that are not obvious, measured with nft 1.0.6 on Linux 6.1 and 6.18:
//
//   - One table of family inet holds both families: a change of a dual-stack Service is one transaction.
//     "ct original ip daddr" does not match packets of the other family, so the maps need no further guard; the rules
//     name the family nevertheless, for the reader.
//   - There is a masquerade map for each protocol, since "ct original proto-dst" has a type only after a rule has named
//     the protocol: nft refuses the concatenation address . protocol . port ("variable sized data types").
//   - A map and not three sets: one lookup for each new connection, and a frontend cannot be in two of them. A map refuses
//     another verdict for a key that it has, so a change says what the verdict was.
//   - Elements are deleted by adding and deleting them in one transaction: "destroy element" needs Linux 6.3 and nft 1.0.7,
//     and "delete element" fails the whole transaction if somebody was there first.
//   - The version of the layout stands in the comments of the rules, because nft 1.0.6 lists neither the comment of a table
//     nor that of a chain in its JSON output.
//
// The package knows nothing of Kubernetes and does not log.
package filter
