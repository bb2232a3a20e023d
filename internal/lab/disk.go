package lab

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"
	"time"
)

// The image of a guest's first disk: a header of 4 KiB with what the guest's own system knows (its name,
// the names it serves, its addresses), then text lines up to the first NUL, both within the data area;
// then filler. So everything that a restored guest shows went through the backup.
const headerSize = 4 << 10

// osInfo is what the system inside the guest knows of itself; it travels with the disk.
type osInfo struct {
	Name      string            `json:"name"`
	HostNames []string          `json:"hostNames,omitempty"`
	Addresses map[string]string `json:"addresses,omitempty"` // "net0" -> "10.10.120.5/24"
}

// wholeDisk rounds a disk size up to whole chunks, at least one.
func wholeDisk(size int64) int64 { return max(1, (size+ChunkSize-1)/ChunkSize) * ChunkSize }

// dataArea returns the size of the data area at the start of a first disk of the given whole size.
func dataArea(size int64) int64 {
	return min(2, max(1, size/2/ChunkSize)) * ChunkSize
}

// textRoom is how many bytes of text fit in the data area; one NUL always remains to end them.
func textRoom(size int64) int { return int(dataArea(size)) - headerSize - 1 }

// encodeArea returns the data area of a first disk.
func encodeArea(size int64, info osInfo, text []byte) ([]byte, error) {
	head, err := json.Marshal(info)
	if err != nil {
		return nil, fmt.Errorf("encode guest header: %w", err)
	}
	if len(head) >= headerSize {
		return nil, fmt.Errorf("encode guest header: %d bytes of names and addresses, room for %d", len(head), headerSize-1)
	}
	if len(text) > textRoom(size) {
		return nil, fmt.Errorf("encode guest data: %d bytes, room for %d", len(text), textRoom(size))
	}
	area := make([]byte, dataArea(size))
	copy(area, head)
	copy(area[headerSize:], text)
	return area, nil
}

// decodeArea is the inverse of encodeArea.
func decodeArea(area []byte) (info osInfo, text []byte, err error) {
	if len(area) < headerSize {
		return osInfo{}, nil, errors.New("decode guest data: the disk is shorter than its header")
	}
	head, _, _ := bytes.Cut(area[:headerSize], []byte{0})
	if err := json.Unmarshal(head, &info); err != nil {
		return osInfo{}, nil, fmt.Errorf("decode guest header: %w", err)
	}
	text, _, _ = bytes.Cut(area[headerSize:], []byte{0})
	return info, bytes.Clone(text), nil
}

// fillerChunk returns the chunk at the given place of a guest's disk: bytes that follow from the names
// and the place alone and do not compress.
func fillerChunk(guest, disk string, index int64) []byte {
	h := fnv.New64a()
	h.Write([]byte(guest + "\x00" + disk + "\x00" + strconv.FormatInt(index, 10)))
	x := h.Sum64()
	b := make([]byte, ChunkSize)
	for i := 0; i < len(b); i += 8 {
		// splitmix64, because it is short and good enough to look like data.
		x += 0x9e3779b97f4a7c15
		z := (x ^ x>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		binary.LittleEndian.PutUint64(b[i:], z^z>>31)
	}
	return b
}

// dataLine is one line of a guest's data.
func dataLine(at time.Time, guest string, n int, rest string) string {
	s := at.UTC().Format(time.RFC3339) + " " + guest + " " + strconv.Itoa(n)
	if rest != "" {
		s += " " + rest
	}
	return s + "\n"
}

// appendBounded adds a line to text; when the room is used up the older half goes, as a log is rotated.
func appendBounded(text []byte, line string, room int) []byte {
	if len(text)+len(line) > room {
		rest := text[len(text)/2:]
		_, rest, _ = bytes.Cut(rest, []byte("\n"))
		text = bytes.Clone(rest)
	}
	if len(text)+len(line) > room {
		return text
	}
	return append(text, line...)
}

// lastLine returns the last line of text without its newline, and the number in it (0 when there is none).
func lastLine(text []byte) (line string, n int) {
	t := bytes.TrimSuffix(text, []byte("\n"))
	t = t[bytes.LastIndexByte(t, '\n')+1:]
	if f := bytes.Fields(t); len(f) >= 3 {
		n, _ = strconv.Atoi(string(f[2])) // a line that is not ours counts from 0
	}
	return string(t), n
}

// formatSize writes bytes as a disk size of a guest configuration: the largest whole unit.
func formatSize(n int64) string {
	for _, u := range []struct {
		unit string
		size int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.unit
		}
	}
	return strconv.FormatInt(n, 10)
}
