package ipvstest

import (
	"net/netip"
	"syscall"

	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// errnos are the cells of the table of errors: what the kernel says to an operation that it refuses. None of them
// changes anything.
func errnos() []promise {
	var (
		v4, v6   = key4(), key6()
		one      = real4(1)
		wrr      = ipvs.VirtualServer{Scheduler: "wrr"}
		unknown  = ipvs.VirtualServer{Scheduler: "nosuch"}
		nameless ipvs.VirtualServer
		made     = []ipvs.Op{addVirtual(v4, rr()), addVirtual(v6, rr()), addReal(v4, one, weight(3))}
		to       = func(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }
		limits   = func(lower, upper uint32) ipvs.RealServer {
			return ipvs.RealServer{Weight: 1, LowerThreshold: lower, UpperThreshold: upper}
		}
	)
	table := []struct {
		name  string
		given []ipvs.Op
		op    ipvs.Op
		want  syscall.Errno
	}{
		{"AddVirtual of an existing one is EEXIST", made, addVirtual(v4, rr()), syscall.EEXIST},
		{"AddVirtual of an existing one with another scheduler is EEXIST", made, addVirtual(v4, wrr), syscall.EEXIST},
		{"AddVirtual of an existing one with an unknown scheduler is EEXIST", made, addVirtual(v4, unknown), syscall.EEXIST},
		{"AddVirtual with an unknown scheduler is ENOENT", nil, addVirtual(v4, unknown), syscall.ENOENT},
		{"AddVirtual without a scheduler is ENOENT", nil, addVirtual(v4, nameless), syscall.ENOENT},
		{"SetVirtual of a missing one is ESRCH", nil, setVirtual(v4, rr()), syscall.ESRCH},
		{"SetVirtual of a missing one with an unknown scheduler is ESRCH", nil, setVirtual(v4, unknown), syscall.ESRCH},
		{"SetVirtual with an unknown scheduler is ENOENT", made, setVirtual(v4, unknown), syscall.ENOENT},
		{"DelVirtual of a missing one is ESRCH", nil, delVirtual(v4), syscall.ESRCH},

		{"AddReal to a missing virtual server is ESRCH", nil, addReal(v4, one, weight(1)), syscall.ESRCH},
		{"AddReal of an existing one is EEXIST", made, addReal(v4, one, weight(3)), syscall.EEXIST},
		{"AddReal of an existing one with another weight is EEXIST", made, addReal(v4, one, weight(7)), syscall.EEXIST},
		{"SetReal on a missing virtual server is ESRCH", nil, setReal(v4, one, weight(1)), syscall.ESRCH},
		{"SetReal of a missing one is ENOENT", made, setReal(v4, real4(2), weight(1)), syscall.ENOENT},
		{"DelReal from a missing virtual server is ESRCH", nil, delReal(v4, one), syscall.ESRCH},
		{"DelReal of a missing one is ENOENT", made, delReal(v4, real4(2)), syscall.ENOENT},

		{"AddReal with a weight above 31 bits is ERANGE", made, addReal(v4, real4(2), weight(1<<31)), syscall.ERANGE},
		{"AddReal of an existing one with a weight above 31 bits is ERANGE", made, addReal(v4, one, weight(1<<31)), syscall.ERANGE},
		{"AddReal with its lower threshold above the upper one is ERANGE", made, addReal(v4, real4(2), limits(20, 10)), syscall.ERANGE},
		{"SetReal with a weight above 31 bits is ERANGE", made, setReal(v4, one, weight(1<<31)), syscall.ERANGE},
		{"SetReal of a missing one with a weight above 31 bits is ERANGE", made, setReal(v4, real4(2), weight(1<<31)), syscall.ERANGE},
		{"SetReal with its lower threshold above the upper one is ERANGE", made, setReal(v4, one, limits(20, 10)), syscall.ERANGE},
		{"AddReal to a missing virtual server with a weight above 31 bits is ESRCH", nil, addReal(v4, one, weight(1<<31)), syscall.ESRCH},

		{"AddReal of the broadcast address is EINVAL", made, addReal(v4, to("255.255.255.255:8080"), weight(1)), syscall.EINVAL},
		{"AddReal of address zero is EINVAL", made, addReal(v4, to("0.0.0.0:8080"), weight(1)), syscall.EINVAL},
		{"AddReal of an IPv4 multicast address is EINVAL", made, addReal(v4, to("224.0.0.1:8080"), weight(1)), syscall.EINVAL},
		{"AddReal of the unspecified IPv6 address is EINVAL", made, addReal(v6, to("[::]:8080"), weight(1)), syscall.EINVAL},
		{"AddReal of an IPv6 multicast address is EINVAL", made, addReal(v6, to("[ff02::1]:8080"), weight(1)), syscall.EINVAL},
		{"AddReal of an IPv6 link-local address is EINVAL", made, addReal(v6, to("[fe80::1]:8080"), weight(1)), syscall.EINVAL},
		{"AddReal of IPv6 to an IPv4 virtual server is EINVAL", made, addReal(v4, real6(1), weight(1)), syscall.EINVAL},
		{"AddReal of IPv4 to an IPv6 virtual server is EINVAL", made, addReal(v6, real4(1), weight(1)), syscall.EINVAL},
		{"SetReal of IPv6 on an IPv4 virtual server is EINVAL", made, setReal(v4, real6(1), weight(1)), syscall.EINVAL},
		{"DelReal of IPv6 from an IPv4 virtual server is ENOENT", made, delReal(v4, real6(1)), syscall.ENOENT},
		{"an operation without a verb is EOPNOTSUPP", made, ipvs.Op{Key: v4}, syscall.EOPNOTSUPP},
	}
	cases := make([]promise, 0, len(table))
	for _, c := range table {
		cases = append(cases, promise{c.name, func(s subject) {
			s.must(c.given...)
			s.fails(c.op, c.want)
		}})
	}
	return cases
}
