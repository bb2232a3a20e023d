package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/raoull/worldwidewelsh/cluster"
	"github.com/raoull/worldwidewelsh/failover"
)

// TestMain is also the main of the processes that TestKilledProcessesLoseNothing
// kills: the test binary runs itself as a node.
func TestMain(m *testing.M) {
	if dir := os.Getenv("WWW_TEST_NODE"); dir != "" {
		if err := runNode(dir, os.Stdin, os.Stdout); err != nil {
			fmt.Println("failed", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// fastTiming makes elections short; loopback has no bad days.
func fastTiming() cluster.Timing {
	return cluster.Timing{
		Heartbeat: 400 * time.Millisecond, Election: 400 * time.Millisecond, Lease: 300 * time.Millisecond,
		Commit: 50 * time.Millisecond, Transport: 500 * time.Millisecond,
	}
}

// openOn opens a node of a directory that holds cert.pem, key.pem and ca.pem
// on a real port. Nothing is forwarded. The mux ends with ctx.
func openOn(ctx context.Context, dir string, site failover.SiteID, ln net.Listener, timing cluster.Timing) (*cluster.Node, <-chan error, error) {
	var files [3][]byte
	for i, name := range []string{"cert.pem", "key.pem", "ca.pem"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, nil, err
		}
		files[i] = b
	}
	id, err := cluster.ServerID(filepath.Join(dir, "data"))
	if err != nil {
		return nil, nil, err
	}
	creds, err := cluster.NewTLS(cluster.TLSConfig{
		Self: cluster.Identity{Network: "assos", Site: site, ServerID: id},
		Pair: cluster.Pair{Cert: files[0], Key: files[1]}, CA: files[2], Now: time.Now,
	})
	if err != nil {
		return nil, nil, err
	}
	mux := cluster.NewMux(ln, creds, quiet())
	done := make(chan error, 1)
	go func() { done <- mux.Run(ctx) }()
	node, err := cluster.Open(cluster.Config{
		Dir: filepath.Join(dir, "data"), Site: site, Network: "assos", Advertise: ln.Addr().String(),
		Listener: mux.Raft(), Dial: creds.DialRaft(cluster.NewDialer(netip.Addr{}).DialContext),
		Forward: func(context.Context, string, []byte) (failover.Stamp, error) {
			return failover.Stamp{}, failover.ErrNoLeader
		},
		ForwardConfirm: func(context.Context, string, failover.Token) error { return failover.ErrNoLeader },
		Logger:         quiet(), WallClock: time.Now, Timing: timing,
		Exit: func(reason string) { fmt.Println("exit", reason); os.Exit(3) },
	})
	return node, done, err
}

// runNode proposes one member after the other while it leads and tells each
// that was acknowledged. Lines of in: "form SITE ID ADDR…" bootstraps and adds,
// "dump INDEX" waits for that entry and lists what is in State. It ends with in.
func runNode(dir string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ln, err := net.FileListener(os.NewFile(3, "mesh port"))
	if err != nil {
		return err
	}
	node, _, err := openOn(ctx, dir, failover.SiteID(filepath.Base(dir)), ln, fastTiming())
	if err != nil {
		return err
	}
	commands := make(chan []string)
	go func() {
		defer cancel()
		for lines := bufio.NewScanner(in); lines.Scan(); {
			commands <- strings.Fields(lines.Text())
		}
	}()
	proposing := true
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return node.Close()
		case words := <-commands:
			proposing = false
			if err := obey(ctx, node, words, out); err != nil {
				return err
			}
			proposing = words[0] == "form"
		case <-time.After(2 * time.Millisecond):
		}
		if _, ready := node.Lead(); !ready || !proposing || len(node.Members()) < 3 {
			continue
		}
		n++
		name := fmt.Sprintf("m-%d-%d", os.Getpid(), n)
		short, done := context.WithTimeout(ctx, time.Second)
		st, err := node.Propose(short, failover.SetMember{Site: failover.SiteID(name), ServerID: "x", Address: "192.0.2.1:1"})
		done()
		if err == nil {
			fmt.Fprintln(out, "ack", name, st.Index)
		}
	}
}

func obey(ctx context.Context, node *cluster.Node, words []string, out io.Writer) error {
	switch words[0] {
	case "form":
		if err := node.Bootstrap(ctx, 1); err != nil {
			return err
		}
		for w := words[1:]; len(w) >= 3; w = w[3:] {
			if err := node.AddMember(ctx, failover.SiteID(w[0]), w[1], w[2], cluster.Voter); err != nil {
				return err
			}
		}
	case "dump":
		index, err := strconv.ParseUint(words[1], 10, 64)
		if err != nil {
			return err
		}
		for changed := node.Changed(); node.State().Index < index; changed = node.Changed() {
			<-changed
		}
		for site := range node.State().Members {
			fmt.Fprintln(out, "has", site)
		}
		fmt.Fprintln(out, "end", node.State().Index)
	}
	return nil
}

// proc is one process. Its port belongs to the test, so that what is sent to
// it while it is dead meets silence, as after a power cut.
type proc struct {
	dir  string
	id   string
	addr string
	port *os.File
	cmd  *exec.Cmd
	in   io.WriteCloser
}

type said struct {
	by    *proc
	words []string
}

func (p *proc) start(t *testing.T, lines chan<- said) {
	t.Helper()
	p.cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	p.cmd.Env = append(os.Environ(), "WWW_TEST_NODE="+p.dir)
	p.cmd.ExtraFiles = []*os.File{p.port}
	p.cmd.Stderr = os.Stderr
	in, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for s := bufio.NewScanner(out); s.Scan(); {
			lines <- said{p, strings.Fields(s.Text())}
		}
	}()
}

func (p *proc) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Wait(); err == nil {
		t.Fatal("a killed process ended well")
	}
}

func (p *proc) tell(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(p.in, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// newProcs lays out n processes; prepare may change what a directory is.
func newProcs(t *testing.T, n int, prepare func(dir string)) []*proc {
	t.Helper()
	ca := newCA(t, "assos")
	var procs []*proc
	for i := range n {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("site-", i))
		if prepare != nil {
			prepare(filepath.Join(dir, "data"))
		}
		id := layOut(t, ca, dir)
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		tcp, ok := ln.(*net.TCPListener)
		if !ok {
			t.Fatalf("listener is a %T", ln)
		}
		port, err := tcp.File()
		if err != nil {
			t.Fatal(err)
		}
		if err := ln.Close(); err != nil { // port keeps it open
			t.Fatal(err)
		}
		t.Cleanup(func() { port.Close() })
		procs = append(procs, &proc{dir: dir, id: id, addr: ln.Addr().String(), port: port})
	}
	return procs
}

// layOut writes an agent's files into dir and returns its server id.
func layOut(t *testing.T, ca *cluster.CA, dir string) string {
	t.Helper()
	id, err := cluster.ServerID(filepath.Join(dir, "data"))
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Issue(failover.SiteID(filepath.Base(dir)), id, []netip.Addr{netip.MustParseAddr("127.0.0.1")}, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"cert.pem": pair.Cert, "key.pem": pair.Key, "ca.pem": ca.CertPEM()} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return id
}

// ears collect what the processes say.
type ears struct {
	t     *testing.T
	lines chan said
	limit <-chan time.Time
	acked map[string]uint64 // indexes
	at    map[uint64]string // what was acknowledged, by index
	last  uint64            // the greatest of them; acknowledgements of several processes come in any order
}

// form starts processes that lead and follow each other.
func form(t *testing.T, procs []*proc, limit time.Duration) *ears {
	t.Helper()
	e := &ears{t: t, lines: make(chan said, 1024), limit: time.After(limit), acked: map[string]uint64{}, at: map[uint64]string{}}
	form := "form"
	for i, p := range procs {
		p.start(t, e.lines)
		if i > 0 {
			form += fmt.Sprintf(" %s %s %s", filepath.Base(p.dir), p.id, p.addr)
		}
	}
	procs[0].tell(t, form)
	return e
}

// ack notes an acknowledgement. Two of one place in the log are two logs.
func (e *ears) ack(s said) {
	e.t.Helper()
	name := s.words[1]
	index, err := strconv.ParseUint(s.words[2], 10, 64)
	if err != nil {
		e.t.Fatal(err)
	}
	if other, taken := e.at[index]; taken && other != name {
		e.t.Fatalf("%s and %s are both acknowledged at %d", other, name, index)
	}
	e.acked[name], e.at[index], e.last = index, name, max(e.last, index)
}

// end demands that every process has all that was acknowledged when it was
// asked, and ends them. What is acknowledged while they tell may be newer than
// what some of them have told already.
func (e *ears) end(procs []*proc) {
	e.t.Helper()
	asked := e.last
	for p, has := range e.dumps(procs) {
		lost := 0
		for name, index := range e.acked {
			if index <= asked && !has[name] {
				lost++
			}
		}
		if lost > 0 {
			e.t.Errorf("%s lost %d of %d acknowledged entries", p.dir, lost, len(e.acked))
		}
		if err := p.in.Close(); err != nil {
			e.t.Error(err)
		}
		if err := p.cmd.Wait(); err != nil {
			e.t.Errorf("%s: %v", p.dir, err)
		}
	}
}

// acks waits for n acknowledgements, the last one by another process than not,
// and returns who gave it.
func (e *ears) acks(n int, not *proc) *proc {
	e.t.Helper()
	for {
		select {
		case s := <-e.lines:
			if s.words[0] != "ack" {
				e.t.Fatalf("%s says %v", s.by.dir, s.words)
			}
			e.ack(s)
			if n--; s.by != not && n <= 0 {
				return s.by
			}
		case <-e.limit:
			e.t.Fatalf("no more acknowledgements after %d", len(e.acked))
		}
	}
}

// dumps returns what each process has in its State.
func (e *ears) dumps(procs []*proc) map[*proc]map[string]bool {
	e.t.Helper()
	has := map[*proc]map[string]bool{}
	for _, p := range procs {
		has[p] = map[string]bool{}
		p.tell(e.t, fmt.Sprint("dump ", e.last))
	}
	for ended := 0; ended < len(procs); {
		select {
		case s := <-e.lines:
			switch s.words[0] {
			case "ack": // under way when it was told to stop
				e.ack(s)
			case "has":
				has[s.by][s.words[1]] = true
			case "end":
				ended++
			default:
				e.t.Fatalf("%s says %v", s.by.dir, s.words)
			}
		case <-e.limit:
			e.t.Fatalf("only %d of %d told what they have", ended, len(procs))
		}
	}
	return has
}

func TestKilledProcessesLoseNothing(t *testing.T) {
	procs := newProcs(t, 3, nil)
	e := form(t, procs, 40*time.Second)
	for range 2 {
		leader := e.acks(40, nil)
		leader.kill(t)
		e.acks(20, leader)
		leader.start(t, e.lines)
	}
	e.acks(20, nil)
	// Everybody at once, as when the power fails.
	for _, p := range procs {
		p.kill(t)
	}
	for _, p := range procs {
		p.start(t, e.lines)
	}
	e.acks(20, nil)
	e.end(procs)
}

// openOverTCP opens n nodes on loopback that end with the test. They wait for
// each other as long as real ones do: on a busy machine shorter patience would
// change the leader in the middle of a test.
func openOverTCP(t *testing.T, n int) (nodes []*cluster.Node, addrs []string) {
	t.Helper()
	ca := newCA(t, "assos")
	for i := range n {
		dir := filepath.Join(t.TempDir(), fmt.Sprint("site-", i))
		layOut(t, ca, dir)
		ln, err := cluster.ListenMesh(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"))
		if err != nil {
			t.Fatal(err)
		}
		run, stop := context.WithCancel(context.Background())
		node, done, err := openOn(run, dir, failover.SiteID(filepath.Base(dir)), ln, cluster.DefaultTiming())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := node.Close(); err != nil {
				t.Error(err)
			}
			stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
		nodes, addrs = append(nodes, node), append(addrs, ln.Addr().String())
	}
	return nodes, addrs
}

func TestNodesOverTCP(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	nodes, addrs := openOverTCP(t, 3)
	if err := nodes[0].Bootstrap(ctx, 1); err != nil {
		t.Fatal(err)
	}
	if nodes[0].Pipelines() {
		t.Error("requests are pipelined: a follower's refusal can hang that, and Close, for ever (hashicorp/raft#612)")
	}
	for i := 1; i < 3; i++ {
		if err := nodes[0].AddMember(ctx, failover.SiteID(fmt.Sprint("site-", i)), nodes[i].ServerID(), addrs[i], cluster.Voter); err != nil {
			t.Fatal(err)
		}
	}
	proposeAtOnce(t, ctx, nodes[:1])
	st, err := nodes[0].Propose(ctx, failover.SetPause{Reason: "over TCP"})
	if err != nil {
		t.Fatal(err)
	}
	for i, n := range nodes {
		for changed := n.Changed(); n.State().Index < st.Index; changed = n.Changed() {
			select {
			case <-changed:
			case <-ctx.Done():
				t.Fatalf("node %d stays at %d, want %d", i, n.State().Index, st.Index)
			}
		}
		if got := n.LeaderAddr(); got != addrs[0] {
			t.Errorf("node %d: leader %q, want %q", i, got, addrs[0])
		}
	}
	if since, ok := nodes[1].LastContact(); !ok || since > 10*time.Second {
		t.Errorf("follower heard its leader: %v, %v ago", ok, since)
	}
	if peers := nodes[0].Stats().Peers; len(peers) != 2 || peers[nodes[1].ServerID()].LastIndex == 0 {
		t.Errorf("leader heard %+v", peers)
	}
	if err := nodes[0].Close(); err != nil {
		t.Fatal(err)
	}
	for {
		for _, n := range nodes[1:] {
			if _, ready := n.Lead(); !ready {
				continue
			}
			if _, err := n.Propose(ctx, failover.EndPause{}); err != nil {
				t.Fatal(err)
			}
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("no new leader over TCP")
		}
	}
}
