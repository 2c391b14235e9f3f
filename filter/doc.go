// Package filter keeps the agent's nftables table: what IPVS itself cannot do, and which of the IPVS entries are ours.
//
//	table inet kube-ipvs
//	  owned-{ipv4,ipv6}                       address . protocol . port       every frontend that the agent made
//	  internal-{ipv4,ipv6}                    address . protocol . port       those that nobody outside may connect to
//	  masquerade-{ipv4,ipv6}-{tcp,udp,sctp}   address . port : verdict        those of which clients are masqueraded, and which
//	  sources-{ipv4,ipv6}                     address . protocol . port : verdict   those with a list of clients
//	  {allow,deny}-ID-{ipv4,ipv6}             prefixes                        the lists, as many of these sets as are not empty
//	  pods-{ipv4,ipv6}                        prefixes                        the pods of this node
//
//	  chain input        (filter, priority filter)   not of a connection, or an SCTP INIT, in sources ─► sources-ID
//	                                                 new connection, in internal ─► outside
//	  chain output       (filter, priority mangle)   not of a connection, in sources ─► sources-ID
//	  chain forward      (filter, priority filter)   to owned, of a connection that IPVS translated ─► drop
//	  chain postrouting  (nat, priority srcnat)      in masquerade ─► masquerade-pods, -remote or -all
//	  chain postrouting-{ipv4,ipv6}-{udp,sctp}       the same for these, so that TCP is asked about first
//	  chain outside                                  this node, its pods: return; everybody else: drop
//	  chain sources-ID                               in deny-ID: drop; in allow-ID: return; everybody else: drop, if there is allow-ID
//
// Input and output are there only while a frontend needs them, forward while an address of one is away (Hooks). Otherwise a packet of a connection
// passes no rule at all: chains of type nat see the first one only, and the kernel does the rest by conntrack.
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
// A list of clients (Sources) stands in the table once for all frontends that have it. Its ID is a hash of its content, so
// a list never changes: another one is another chain, and the transaction that makes it points the frontends to it, and
// removes the list that has no frontend any more. Which lists a change makes and removes is in the change itself
// (Rules.Complete): the table remembers nothing. A list that does not hash to its ID was changed by somebody. Read gives its
// frontends the one that admits nobody, and Ensure writes that, until the caller writes the right one.
//
// Nothing is marked. A request passes the input hook with the address and port that the client connected to, before IPVS
// takes it (priority filter is 0, IPVS stands at 99). With net.ipv4.vs.conntrack=1 IPVS changes only the reply direction
// of a connection's conntrack entry, so postrouting still finds that address and port in the original direction. They are
// looked up with the protocol: a process on the same port of another address, or of another protocol, is never touched.
// A request of the node itself passes the output hook (priority mangle is -150, there IPVS stands at -99).
// All chains decide once for a connection, at its first packet: what changes later touches no connection that is there.
// What conntrack cannot follow, or was told not to, is no connection, and is looked up in sources packet by packet.
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
//   - The sources maps jump where the others go: who is let in by a list must still pass the rule for internal frontends.
//   - Sets of prefixes are interval sets, which take 0.0.0.0/0 and ::/0 too, and are listed as they were written: prefixes
//     side by side stay apart without "auto-merge", and a single address is listed without its length.
//   - Neighbouring elements of a set are written in one command: 10,000 prefixes take 0.1 to 0.2 s, one to a command 0.8 s.
//     Reading a table with them takes 0.05 s, and one more frontend with such a list 0.04 s, because lists are written only
//     when they are new (Linux 6.18, natively).
//   - Elements are deleted by adding and deleting them in one transaction: "destroy element" needs Linux 6.3 and nft 1.0.7,
//     and "delete element" fails the whole transaction if somebody was there first.
//   - The version of the layout stands in the comments of the rules, because nft 1.0.6 lists neither the comment of a table
//     nor that of a chain in its JSON output.
//
// The package knows nothing of Kubernetes and does not log.
package filter
