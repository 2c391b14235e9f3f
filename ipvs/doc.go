// Package ipvs holds the kernel's IPVS table as plain values and programs it.
//
// What flows in is the table somebody wants, what flows out is the table the kernel has acknowledged:
//
//	want ─┐
//	      ├─► Diff ─► Plan ─► Apply(Handle) ─► Result (what was done, what failed, what must be read again)
//	have ─┘
//
// Table, Plan and Diff are pure. Handle is the boundary: Open gives the kernel's own, package ipvsfake a model of it,
// and package ipvstest one contract suite that both pass. Apply is the only code that turns a Plan into kernel calls.
//
// Facts of the kernel that shape the package (measured on Linux 6.1 unless a line says otherwise):
//
//   - There is no transaction. Many messages fit into one sendmsg, a failed one does not stop the rest and is answered
//     with its own sequence number whether or not it asked for an acknowledgement. So every prefix of a Plan has to
//     leave a working table (see Diff for the order).
//   - Dumps are not snapshots: while the table changes, entries may be missing or repeated without any sign.
//     Never take absence from a dump as proof; Get asks for one virtual server.
//   - Deleted real servers stay in a trash list for two minutes or more, which every later add walks. Never flush and
//     add again: write differences only.
//   - The kernel validates little: protocol ICMP, port 0 and addresses that are not local are all accepted.
//     Table.Validate refuses them before they get there.
//   - The kernel sets the HASHED flag on its own; it is stripped where entries are read.
//
// The package knows nothing of Kubernetes and does not log.
package ipvs
