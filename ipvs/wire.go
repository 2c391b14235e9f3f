package ipvs

import "encoding/binary"

// The numbers of netlink, generic netlink and IPVS that the package sends and reads. They are ABI and written out here
// so that everything about bytes is portable and tested anywhere.
const (
	// linux/netlink.h
	sizeHeader      = 16
	sizeErrno       = 4
	msgError        = 2
	msgDone         = 3
	flagRequest     = 0x1
	flagAck         = 0x4
	flagDump        = 0x300
	attrNested      = 0x8000
	attrTypeMask    = 0x3fff
	sizeAttr        = 4
	alignment       = 4
	sizeGenlHeader  = 4
	genlControl     = 0x10 // GENL_ID_CTRL
	genlVersion     = 1
	ctrlGetFamily   = 3 // CTRL_CMD_GETFAMILY
	ctrlAttrID      = 1 // CTRL_ATTR_FAMILY_ID
	ctrlAttrName    = 2 // CTRL_ATTR_FAMILY_NAME
	familyIPv4      = 2 // AF_INET
	familyIPv6      = 10
	sizeAddrOnWire  = 16
	forwardingMask  = 0x7 // IP_VS_CONN_F_FWD_MASK
	wholeAddressIP6 = 128

	// linux/ip_vs.h, IPVS_CMD_*
	cmdNewService = 1
	cmdSetService = 2
	cmdDelService = 3
	cmdGetService = 4
	cmdNewDest    = 5
	cmdSetDest    = 6
	cmdDelDest    = 7
	cmdGetDest    = 8
	cmdSetConfig  = 12
	cmdGetConfig  = 13

	// IPVS_CMD_ATTR_*
	attrService       = 1
	attrDest          = 2
	attrTimeoutTCP    = 4
	attrTimeoutTCPFin = 5
	attrTimeoutUDP    = 6

	// IPVS_SVC_ATTR_*
	svcAttrFamily    = 1
	svcAttrProtocol  = 2
	svcAttrAddr      = 3
	svcAttrPort      = 4
	svcAttrMark      = 5
	svcAttrScheduler = 6
	svcAttrFlags     = 7
	svcAttrTimeout   = 8
	svcAttrNetmask   = 9
	svcAttrStats     = 10
	svcAttrStats64   = 12 // Linux 4.1

	// IPVS_DEST_ATTR_*
	destAttrAddr       = 1
	destAttrPort       = 2
	destAttrForwarding = 3
	destAttrWeight     = 4
	destAttrUpper      = 5
	destAttrLower      = 6
	destAttrActive     = 7
	destAttrInactive   = 8
	destAttrStats      = 10
	destAttrFamily     = 11
	destAttrStats64    = 12 // Linux 4.1

	// IPVS_STATS_ATTR_*, the same in both kinds of statistics
	statAttrConns    = 1
	statAttrInPkts   = 2
	statAttrOutPkts  = 3
	statAttrInBytes  = 4
	statAttrOutBytes = 5
)

// command is the IPVS command of a verb; 0, which the kernel refuses with EOPNOTSUPP, for one that does not exist.
func command(v Verb) uint8 {
	switch v {
	case AddVirtual:
		return cmdNewService
	case SetVirtual:
		return cmdSetService
	case DelVirtual:
		return cmdDelService
	case AddReal:
		return cmdNewDest
	case SetReal:
		return cmdSetDest
	case DelReal:
		return cmdDelDest
	}
	return 0
}

// align rounds a length up to the next border at which netlink headers and attributes may begin.
func align(n int) int { return (n + alignment - 1) &^ (alignment - 1) }

// Netlink integers are in the byte order of the machine; ports and IPv4 netmasks within are in network order.
func putU16(b []byte, v uint16) { binary.NativeEndian.PutUint16(b, v) }
func putU32(b []byte, v uint32) { binary.NativeEndian.PutUint32(b, v) }
func getU16(b []byte) uint16    { return binary.NativeEndian.Uint16(b) }
func getU32(b []byte) uint32    { return binary.NativeEndian.Uint32(b) }
func getU64(b []byte) uint64    { return binary.NativeEndian.Uint64(b) }
