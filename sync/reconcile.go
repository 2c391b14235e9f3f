package sync

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	stdsync "sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/kube-ipvs/kube-ipvs/filter"
	"github.com/kube-ipvs/kube-ipvs/frontend"
	"github.com/kube-ipvs/kube-ipvs/ipvs"
)

// Reconciler brings the kernel to what the sources ask for and keeps it there. Make one with New, and call Run once.
type Reconciler struct {
	Config
	log logr.Logger

	state     *State
	primary   []netip.Addr             // the Node's primary addresses, as last known
	grace     map[netip.Addr]time.Time // addresses that vanished, and when they stop serving
	absent    backoff                  // the next try of writing that there are such; zero if the last one went well
	local     []netip.Addr             // all addresses of the node
	own       []netip.Addr             // those of local that no other proxy keeps for a Service
	partial   bool                     // part of the input is not known: see takeIn
	unread    keySet                   // our frontends whose kernel state is not known
	orphans   keySet                   // ours by our table, wanted by nobody at the start
	refused   map[string]time.Time     // schedulers that the kernel does not have, and when to ask again
	foreign   []frontend.Key           // virtual servers on our node ports that are not ours
	adopted   bool                     // the kernel's state was read for the first time
	tookOver  bool                     // what others left was made ours, if that is asked for
	forgotten bool                     // our table does not say whose the virtual servers are: see recognize
	audited   bool                     // the last look at the kernel's state went well
	nextAudit time.Time
	auditWait time.Duration // the pause after the last audit if it failed, or 0
	untuned   error         // why the settings of IPVS are not as they should be
	nextSync  time.Time     // when changes are taken in again at the earliest
	round     auditRound
	poll      poll
	// generation of the ruleset when our table was last read; 0 if it is not known.
	generation uint32
	// nextLook is when our nftables table is read because somebody else wrote to it, or because it could not be put right; zero if
	// it is not.
	nextLook time.Time
	reading  tableRead
	written  *writtenFilter
	beside   stdsync.WaitGroup // reads beside the loop
	// addressesChanged: the node's addresses, or what chooses among them, may have changed since they were looked at.
	addressesChanged bool
	// first is what the source delivered while the reconciler waited for it.
	first *Update

	have    memory        // our part of the kernel's table
	rules   filter.Rules  // our nftables table, as acknowledged
	common  commonSources // as long as protect needs them
	unmade  bool          // there is no such table yet
	making  backoff       // the next try to make it where nothing else does
	leaving map[frontend.Key]departures
	rising  map[frontend.Key]rising
	// patience of Services that chose it themselves.
	patience patience
	retry    map[frontend.Key]backoff
	flows    flowCare
	pods     podCare

	questions chan func()

	listeners listeners
	reserved  reservation

	// unprogrammed are the changes of endpoints that the kernel does not have yet.
	unprogrammed Triggers
	histograms   histograms

	board   statusBoard
	serving servingIndex
}

// New is a reconciler that has not read or written anything yet.
func New(log logr.Logger, c Config) *Reconciler {
	written := &writtenFilter{Filter: c.Filter}
	c.Filter = written
	return &Reconciler{
		Config: c, log: log, written: written,
		state:    NewState(c.Defaults),
		pods:     newPodCare(c),
		grace:    map[netip.Addr]time.Time{},
		unread:   keySet{},
		orphans:  keySet{},
		refused:  map[string]time.Time{},
		have:     newMemory(),
		common:   commonSources{},
		leaving:  map[frontend.Key]departures{},
		rising:   map[frontend.Key]rising{},
		patience: patience{},
		retry:    map[frontend.Key]backoff{},
		flows:    flowCare{keys: keySet{}},

		questions: make(chan func()),

		unprogrammed: Triggers{},
		histograms:   newHistograms(),
	}
}

// pass does everything that is due: it takes in what the sources have, reads the kernel back if it is time to, and
// programs what changed. A slice of an audit comes last: what it finds is programmed too.
func (r *Reconciler) pass(ctx context.Context) {
	start := time.Now()
	r.board.begin(start)
	p := &passReport{}
	r.written.silent = nil
	r.heed(start)
	due := newKeySet(r.takeIn(start, p)...)
	switch {
	case !start.Before(r.nextAudit):
		due.add(r.audit(ctx, p)...)
	case r.adopted && !r.nextLook.IsZero() && !start.Before(r.nextLook):
		r.readTable(ctx)
	}
	if r.adopted {
		r.answerRead(ctx, p)
		r.forgetRefusals(ctx, start)
		r.state.SetAbsent(slices.Collect(maps.Keys(r.grace)))
		due.add(r.resolve()...)
		due.add(r.pollLeaving(ctx, start, p)...)
		due.add(r.dueRetries(start)...)
		due.add(r.dueRamps(start)...)
		r.guardAbsent(ctx, p)
		r.protectPods(ctx, p)
		r.program(ctx, due.sorted(), p)
		r.makeFilter(ctx, p)
		r.notePrograms(time.Now())
		r.listen()
		r.reserve(time.Now())
		r.tendFlows(time.Now(), p) // late: a long table of connections takes its time
		if drifted := r.goOn(ctx, p); len(drifted) > 0 {
			r.program(ctx, drifted, p)
		}
	}
	if ctx.Err() == nil { // what the end cut short has not failed
		r.report(start, p)
	}
}

// program brings the kernel to the wanted state for the given keys. What turns out to be otherwise than assumed is read
// again and tried once more at once; what the kernel refuses is tried again later.
func (r *Reconciler) program(ctx context.Context, keys []frontend.Key, p *passReport) {
	touched := keys
	defer func() { r.publish(touched) }()
	for range maxRounds {
		keys = r.known(ctx, r.workable(keys), p)
		keys = r.unclaimed(ctx, keys, p)
		keys = r.protect(ctx, keys, p)
		if len(keys) == 0 {
			return
		}
		have, next := r.tables(time.Now(), keys)
		build, removal := ipvs.Diff(have, next).Spread(r.Seed, next).Split()
		result := r.apply(ctx, build, p)
		result = result.And(r.apply(ctx, r.bearable(removal, next, result), p))
		surprised := newKeySet(result.Uncertain...)
		failed := r.refusedOps(result, p)
		r.reread(ctx, surprised, p)
		// What is not as it should be still needs all that protects it.
		settled := sortedKeys(slices.DeleteFunc(slices.Clone(keys), func(key frontend.Key) bool { return failed.has(key) || surprised.has(key) }))
		for _, key := range r.release(ctx, settled, p) {
			failed.add(key)
		}
		for _, key := range keys {
			if !failed.has(key) && !surprised.has(key) {
				delete(r.retry, key)
			}
		}
		// A refused scheduler changes what is wanted: those frontends are tried again at once, with the default.
		keys = append(surprised.minus(failed).sorted(), r.resolve()...)
		touched = slices.Concat(touched, keys)
	}
	if len(keys) > 0 {
		r.hold(keys, fmt.Errorf("%s was read %d times and is still not as read: somebody else may be writing it too", keys[0], maxRounds), p)
	}
}

// apply carries out a plan and remembers what the kernel acknowledged.
func (r *Reconciler) apply(ctx context.Context, plan ipvs.Plan, p *passReport) ipvs.Result {
	result := ipvs.Apply(ctx, r.Kernel, plan)
	p.add(result)
	r.flows.note(result)
	each := r.log.V(4)
	for _, op := range result.Done {
		if op.Verb == ipvs.AddVirtual {
			f, _ := r.state.Want(op.Key)
			r.have.create(op, len(f.Entry.Reals))
		} else {
			r.have.commit(op)
		}
		if each.Enabled() {
			each.Info("Done", "operation", op)
		}
	}
	return result
}

// bearable leaves out of a removal the frontends that would have no real server for new connections after it, because
// the one that should take over could not be added: those that are there go on serving until another try.
func (r *Reconciler) bearable(removal ipvs.Plan, next ipvs.Table, built ipvs.Result) ipvs.Plan {
	bare := newKeySet(built.Uncertain...) // every key of a failed operation is among them
	for key := range bare {
		if !next[key].Serves() || r.have.table[key].GoesOn(next[key]) {
			delete(bare, key)
		}
	}
	if len(bare) == 0 {
		return removal
	}
	return slices.DeleteFunc(removal, func(op ipvs.Op) bool { return bare.has(op.Key) })
}

// maxRounds is how often one pass tries a frontend whose kernel state is not what it took it for.
const maxRounds = 3

// workable leaves out the orphans while the input is incomplete: somebody may want them whom we cannot read. The same goes for those on
// an address of which nobody knows where it stood. They are not tried again either, they come with the rest of the input.
func (r *Reconciler) workable(keys []frontend.Key) []frontend.Key {
	return slices.DeleteFunc(sortedKeys(slices.Clone(keys)), func(key frontend.Key) bool {
		if _, wanted := r.state.Want(key); wanted || !r.orphans.has(key) || !r.partial && !placeless(key.Addr, r.grace, r.state.Places()) {
			return false
		}
		delete(r.retry, key)
		return true
	})
}

// sortedKeys sorts keys, which is quick where they are sorted already, and leaves each of them in once.
func sortedKeys(keys []frontend.Key) []frontend.Key {
	slices.SortFunc(keys, frontend.Key.Compare)
	return slices.Compact(keys)
}

// known leaves out the keys whose kernel state could not be read, and cannot be read now either.
func (r *Reconciler) known(ctx context.Context, keys []frontend.Key, p *passReport) []frontend.Key {
	doubtful := newKeySet()
	for _, key := range keys {
		if r.unread.has(key) {
			doubtful.add(key)
		}
	}
	if len(doubtful) == 0 {
		return keys
	}
	r.reread(ctx, doubtful, p)
	return slices.DeleteFunc(keys, func(key frontend.Key) bool {
		if r.unread.has(key) {
			r.postpone(key, errUnread)
			return true
		}
		return false
	})
}

// errUnread is why a frontend waits whose kernel state is not known; what kept it from being read is told when it does.
var errUnread = errors.New("its state in the kernel cannot be read")

// refusedOps are the keys of operations that failed and have to wait. A scheduler that the kernel does not have is
// remembered and no failure, since the node's default takes its place; that the default itself is missing is one.
func (r *Reconciler) refusedOps(result ipvs.Result, p *passReport) keySet {
	failed := newKeySet()
	for _, e := range result.Failed {
		if name := e.Op.Virtual.Scheduler; ipvs.IsUnknownScheduler(e) && name != r.Scheduler {
			if _, known := r.refused[name]; !known {
				r.refused[name] = time.Now().Add(refusalMemory)
				r.state.SetRefused(slices.Collect(maps.Keys(r.refused)))
			}
			continue
		}
		p.failFrontends(e)
		if !failed.has(e.Op.Key) {
			r.postpone(e.Op.Key, e)
		}
		failed.add(e.Op.Key)
	}
	return failed
}

// reread asks the kernel for the entries under keys. A key that cannot be read stays unread: what is remembered of it
// may be wrong, and nothing is concluded from it.
func (r *Reconciler) reread(ctx context.Context, keys keySet, p *passReport) {
	for _, key := range keys.sorted() {
		entry, err := r.ask(ctx, key, p)
		delete(r.unread, key)
		switch {
		case err == nil:
			r.have.put(key, entry)
		case ipvs.IsGone(err):
			r.have.drop(key)
		default:
			r.unread.add(key)
			p.failFrontends(fmt.Errorf("read %s again: %w", key, err))
		}
	}
}

// ask reads one virtual server, unless IPVS has left another such question of this pass without an answer: that took ten seconds, and
// there may be thousands of them while other changes wait.
func (r *Reconciler) ask(ctx context.Context, key frontend.Key, p *passReport) (ipvs.Entry, error) {
	if p.silent {
		return ipvs.Entry{}, ipvs.ErrSilent
	}
	entry, _, err := r.Kernel.Get(ctx, key)
	p.silent = errors.Is(err, ipvs.ErrSilent)
	return entry, err
}
