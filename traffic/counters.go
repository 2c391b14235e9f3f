package traffic

import "github.com/kube-ipvs/kube-ipvs/ipvs"

func plus(a, b ipvs.Counters) ipvs.Counters {
	return ipvs.Counters{
		Connections: a.Connections + b.Connections,
		InPackets:   a.InPackets + b.InPackets,
		OutPackets:  a.OutPackets + b.OutPackets,
		InBytes:     a.InBytes + b.InBytes,
		OutBytes:    a.OutBytes + b.OutBytes,
	}
}

// restarted reports that the counters cannot be later ones of the object that had last: it was made anew, or its counters
// were set to zero.
func restarted(now, last ipvs.Counters) bool {
	return now.Connections < last.Connections || now.InPackets < last.InPackets || now.OutPackets < last.OutPackets ||
		now.InBytes < last.InBytes || now.OutBytes < last.OutBytes
}

// since is what was counted after last.
func since(now, last ipvs.Counters) ipvs.Counters {
	if restarted(now, last) {
		return now
	}
	return ipvs.Counters{
		Connections: now.Connections - last.Connections,
		InPackets:   now.InPackets - last.InPackets,
		OutPackets:  now.OutPackets - last.OutPackets,
		InBytes:     now.InBytes - last.InBytes,
		OutBytes:    now.OutBytes - last.OutBytes,
	}
}
