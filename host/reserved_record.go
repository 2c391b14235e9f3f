package host

import "path/filepath"

// reservedRecord is the content of the state file: which of the reserved ports we added.
type reservedRecord struct {
	// BootID names the boot that it is of. After another one the kernel starts with no reserved port again.
	BootID string  `json:"bootID"`
	Ours   portSet `json:"ours"`
	// Pending are added or removed right now. There are some after a crash only: then some of them are reserved, or all, or
	// none.
	Pending portSet `json:"pending"`
}

// changingRecord is what stands in the record while goal is made of ours.
func changingRecord(boot string, ours, goal *portSet) reservedRecord {
	added, removed := goal.minus(ours), ours.minus(goal)
	return reservedRecord{BootID: boot, Ours: *goal.intersect(ours), Pending: *added.union(removed)}
}

// ours are those of the present ports that we added.
func (r *reservedRecord) ours(present *portSet) *portSet {
	if !r.Pending.empty() {
		return r.Ours.union(&r.Pending).intersect(present)
	}
	if !r.Ours.minus(present).empty() {
		return new(portSet) // the value is somebody else's
	}
	return r.Ours.intersect(present)
}

func (r ReservedPorts) recordPath() string {
	return filepath.Join(orDefault(r.StateDir, defaultStateDir), "reserved-ports.json")
}

// load reads the record; without one, or with one from an earlier boot, it is empty. One that cannot be read is an error:
// to go on would take our ports for those of others, for good.
func (r ReservedPorts) load() (*reservedRecord, error) {
	boot, err := r.sysctls().bootID()
	if err != nil {
		return nil, err
	}
	record := new(reservedRecord)
	if _, err := loadRecord(r.recordPath(), record); err != nil {
		return nil, err
	}
	if record.BootID != boot {
		record = &reservedRecord{BootID: boot}
	}
	return record, nil
}

func (r ReservedPorts) store(record reservedRecord) error {
	return storeRecord(r.recordPath(), &record)
}
