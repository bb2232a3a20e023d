package notify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func openOutbox(t *testing.T, dir string) *Outbox {
	t.Helper()
	o, err := OpenOutbox(dir)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func put(t *testing.T, o *Outbox, key string, u Urgency, now time.Time) {
	t.Helper()
	if err := o.Put("mail", Message{ID: "id-" + key, Key: key, Urgency: u, Kind: First}, time.Time{}, now); err != nil {
		t.Fatal(err)
	}
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var out []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

// TestOutboxSurvives: what was queued is there after a restart, with what it is held back for;
// what was sent is not; what a crash has left half written costs no other.
func TestOutboxSurvives(t *testing.T) {
	dir := t.TempDir()
	o := openOutbox(t, dir)
	put(t, o, "a", Warning, noon)
	put(t, o, "b", Urgent, noon.Add(time.Second))
	if err := o.Put("sms", Message{ID: "id-c", Key: "c"}, noon.Add(time.Hour), noon); err != nil {
		t.Fatal(err)
	}
	first, _ := o.next("mail", noon.Add(time.Minute))
	if first.Message.Key != "b" {
		t.Errorf("first %s, want the urgent one", first.Message.Key)
	}
	if err := o.sent(first, noon); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{".id-x.mail.json123": `{"chan`, "id-y.mail.json": `{"chan`, "id-z.mail.json": `{"channel":"sms"}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	again, err := OpenOutbox(dir)
	if err == nil {
		t.Error("two files that cannot be read are not told")
	}
	if i, _ := again.next("mail", noon.Add(time.Minute)); i == nil || i.Message.Key != "a" {
		t.Errorf("after a restart: %+v, want a", i)
	}
	if i, at := again.next("sms", noon.Add(time.Minute)); i != nil || !at.Equal(noon.Add(time.Hour)) {
		t.Errorf("held back: %+v, %s, want nothing before %s", i, at, noon.Add(time.Hour))
	}
	if got := fmt.Sprint(files(t, dir)); got != "[id-a.mail.json id-c.sms.json id-y.mail.json.bad id-z.mail.json.bad]" {
		t.Errorf("files: %s", got)
	}
}

// TestOutboxRetriesAndGivesUp: at longer and longer intervals, for a day.
func TestOutboxRetriesAndGivesUp(t *testing.T) {
	dir := t.TempDir()
	o := openOutbox(t, dir)
	put(t, o, "a", Urgent, noon)
	attempts := 0
	for now := noon; now.Before(noon.Add(30 * time.Hour)); {
		i, at := o.next("mail", now)
		if i == nil {
			if len(o.items) == 0 {
				break
			}
			now = at
			continue
		}
		attempts++
		if err := o.failed(i, errors.New("refused"), now); err != nil {
			t.Fatal(err)
		}
	}
	s := o.Stats([]string{"mail"})["mail"]
	if s.Waiting != 0 || s.Results[ResultExpired] != 1 || attempts < 100 || attempts > 200 || s.Failures != attempts || !s.Since.Equal(noon) {
		t.Errorf("after a day: %d attempts, %+v; want it given up after some 150", attempts, s)
	}
	if left := files(t, dir); len(left) != 0 {
		t.Errorf("files: %v", left)
	}
}

// TestOutboxIsBounded: of too many the least urgent and oldest go; newer news of the same
// takes the place of older.
func TestOutboxIsBounded(t *testing.T) {
	dir := t.TempDir()
	o := openOutbox(t, dir)
	put(t, o, "urgent", Urgent, noon)
	for i := range maxWaiting + 10 {
		put(t, o, fmt.Sprint("k", i), Info, noon.Add(time.Duration(i)*time.Second))
	}
	s := o.Stats([]string{"mail"})["mail"]
	if s.Waiting != maxWaiting || s.Results[ResultDropped] != 11 || len(files(t, dir)) != maxWaiting {
		t.Errorf("%+v and %d files, want %d that wait", s, len(files(t, dir)), maxWaiting)
	}
	if i, _ := o.next("mail", noon.Add(time.Hour)); i.Message.Key != "urgent" {
		t.Errorf("first %s, want the urgent one", i.Message.Key)
	}
	newer := Message{ID: "id-newer", Key: "urgent", Urgency: Info, Kind: Over}
	if err := o.Put("mail", newer, time.Time{}, noon); err != nil {
		t.Fatal(err)
	}
	if s := o.Stats([]string{"mail"})["mail"]; s.Waiting != maxWaiting || s.Results[ResultSuperseded] != 1 {
		t.Errorf("after newer news of the same: %+v", s)
	}
}

// TestOutboxWithoutDisk: a disk that takes nothing costs the memory over a restart, not the
// message.
func TestOutboxWithoutDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "queue")
	o := openOutbox(t, dir)
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := o.Put("mail", Message{ID: "id", Key: "a"}, time.Time{}, noon); err == nil {
		t.Error("nobody is told that the disk has not taken it")
	}
	i, _ := o.next("mail", noon)
	if i == nil {
		t.Fatal("the message is lost")
	}
	if err := o.sent(i, noon); err != nil {
		t.Error(err)
	}
}
