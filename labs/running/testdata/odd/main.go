// Command odd runs in a guest of a test. It sends packets of protocols that no tool of the guest's speaks, over and
// over, and says of each that reaches the guest from another when it came first in a phase. A line of standard input
// begins a phase: its number.
//
//	odd PAUSE [NAME=PROTOCOL/DESTINATION[/SOURCE]]...   by raw sockets: the guest's kernel finds the way
//	odd --go-away                                       says on its agent's line that the guest takes no more calls
//	odd --announce DEVICE ADDRESS...                    says that addresses are here, as a router does that takes over
package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mark stands before what a packet says of itself: PHASE NAME.
const mark = "\x00odd:"

func main() {
	err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "odd:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 1 && args[0] == "--go-away" {
		return goAway()
	}
	if len(args) > 2 && args[0] == "--announce" {
		return announce(args[1], args[2:])
	}
	if len(args) == 0 {
		return fmt.Errorf("say how long to pause")
	}
	pause, err := time.ParseDuration(args[0])
	if err != nil {
		return err
	}
	var all []*flow
	for _, a := range args[1:] {
		f, err := newFlow(a)
		if err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
		all = append(all, f)
	}
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM, 0x0300) // ETH_P_ALL in the network's order
	if err != nil {
		return fmt.Errorf("packet socket: %w", err)
	}
	say := &said{seen: map[string]bool{}}
	go say.watch(fd)
	var mu sync.Mutex
	phase := 0
	go func() {
		for range time.Tick(pause) {
			mu.Lock()
			for _, f := range all {
				f.send(phase)
			}
			mu.Unlock()
		}
	}()
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			return err
		}
		mu.Lock() // what is sent from now on is of the new phase
		phase = n
		mu.Unlock()
		say.line(fmt.Sprintf("%d begun", n))
	}
	return nil
}

// said are the lines that have been printed.
type said struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (s *said) line(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.seen[text] {
		s.seen[text] = true
		fmt.Println(text)
	}
}

// watch reads what the guest receives: neither what it sends nor what is for another's MAC.
func (s *said) watch(fd int) {
	b := make([]byte, 2048)
	for {
		n, from, err := syscall.Recvfrom(fd, b, 0)
		if err != nil {
			continue
		}
		if l, ok := from.(*syscall.SockaddrLinklayer); !ok || l.Pkttype == syscall.PACKET_OUTGOING || l.Pkttype == syscall.PACKET_OTHERHOST {
			continue
		}
		if isError(b[:n]) {
			continue
		}
		if _, text, ok := bytes.Cut(b[:n], []byte(mark)); ok {
			if text, _, ok := bytes.Cut(text, []byte{0}); ok {
				s.line(string(text))
			}
		}
	}
}

// isError says whether a packet is ICMP's, which quotes what the guest has sent itself.
func isError(b []byte) bool {
	const icmp, icmpv6 = 1, 58
	return len(b) > 20 && (b[0]>>4 == 4 && b[9] == icmp || b[0]>>4 == 6 && b[6] == icmpv6)
}

// flow is one kind of packets between two ends.
type flow struct {
	name     string
	protocol int
	conn     net.Conn
}

func newFlow(s string) (*flow, error) {
	name, rest, _ := strings.Cut(s, "=")
	words := strings.Split(rest, "/")
	protocol, err := strconv.Atoi(words[0])
	if err != nil || len(words) < 2 {
		return nil, fmt.Errorf("want NAME=PROTOCOL/DESTINATION")
	}
	network := fmt.Sprintf("ip4:%d", protocol)
	if strings.Contains(words[1], ":") {
		network = fmt.Sprintf("ip6:%d", protocol)
	}
	var d net.Dialer
	if len(words) > 2 {
		d.LocalAddr = &net.IPAddr{IP: net.ParseIP(words[2])}
	}
	conn, err := d.Dial(network, words[1])
	if err != nil {
		return nil, err
	}
	f := &flow{name: name, protocol: protocol, conn: conn}
	if protocol == 112 { // VRRP is heard only with the highest TTL
		return f, f.hops(255)
	}
	return f, nil
}

func (f *flow) hops(n int) error {
	raw, err := f.conn.(*net.IPConn).SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) {
		if set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, syscall.IP_MULTICAST_TTL, n); set != nil {
			set = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IPV6, syscall.IPV6_MULTICAST_HOPS, n)
		}
	})
	if err == nil {
		err = set
	}
	return err
}

func (f *flow) send(phase int) {
	text := []byte(fmt.Sprintf("%s%d %s\x00", mark, phase, f.name))
	for len(text)%4 > 0 {
		text = append(text, 0)
	}
	var b []byte
	switch f.protocol {
	case 17:
		b = binary.BigEndian.AppendUint16(b, 5007)
		b = binary.BigEndian.AppendUint16(b, 5007)
		b = binary.BigEndian.AppendUint16(b, uint16(8+len(text)))
		b = append(append(b, 0, 0), text...) // no checksum, as IPv4 allows
	case 47:
		b = append([]byte{0, 0, 8, 0}, text...)
	case 132:
		b = initChunk(text)
	default:
		b = text
	}
	_, _ = f.conn.Write(b) // an ICMP error about the one before, or nobody answers ARP just now: the next one is tried all the same
}

// initChunk is a whole SCTP packet that begins an association, with a parameter that nobody knows (RFC 9260).
func initChunk(text []byte) []byte {
	b := make([]byte, 12, 64)
	binary.BigEndian.PutUint16(b, 2905)
	binary.BigEndian.PutUint16(b[2:], 2905)
	b = append(b, 1, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(20+4+len(text)))
	b = append(b, 0, 0, 0, 7, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1) // tag, window, streams, first number
	b = append(b, 0x80, 0x99)                                     // skip it, and go on
	b = binary.BigEndian.AppendUint16(b, uint16(4+len(text)))
	b = append(b, text...)
	binary.LittleEndian.PutUint32(b[8:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// announce says of addresses that they are at a device's MAC: by gratuitous ARP (RFC 5227 3), or by an unsolicited
// neighbour advertisement (RFC 4861 7.2.6).
func announce(device string, addresses []string) error {
	link, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	for _, text := range addresses {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return err
		}
		say := advertise
		if a.Is4() {
			say = gratuitous
		}
		if err := say(link, a); err != nil {
			return fmt.Errorf("%s: %w", a, err)
		}
	}
	return nil
}

func gratuitous(link *net.Interface, a netip.Addr) error {
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_DGRAM, 0)
	if err != nil {
		return err
	}
	own := append(slices.Clone(link.HardwareAddr), a.AsSlice()...)
	b := slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, 1}, own, make([]byte, 6), a.AsSlice())
	to := &syscall.SockaddrLinklayer{Protocol: 0x0608, Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	return errors.Join(syscall.Sendto(fd, b, 0, to), syscall.Close(fd))
}

func advertise(link *net.Interface, a netip.Addr) error {
	c, err := net.Dial("ip6:58", "ff02::1%"+link.Name)
	if err != nil {
		return err
	}
	f := &flow{conn: c}
	const override = 0x20
	b := slices.Concat([]byte{136, 0, 0, 0, override, 0, 0, 0}, a.AsSlice(), []byte{2, 1}, link.HardwareAddr)
	if err = f.hops(255); err == nil {
		_, err = c.Write(b)
	}
	return errors.Join(err, c.Close())
}

// goAway takes the agent's end of its line, as a guest's root may in a machine of its own, and ends yamux's session on
// it.
func goAway() error {
	const frame = "\x00\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	ends, err := filepath.Glob("/proc/1/fd/*")
	if err != nil {
		return err
	}
	agent, err := unix.PidfdOpen(1, 0)
	if err != nil {
		return os.NewSyscallError("pidfd_open", err)
	}
	for _, end := range ends {
		to, err := os.Readlink(end)
		if err != nil || !strings.HasPrefix(to, "/dev/vport") {
			continue
		}
		n, err := strconv.Atoi(filepath.Base(end))
		if err != nil {
			return err
		}
		fd, err := unix.PidfdGetfd(agent, n, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte(frame))
		}
		return err
	}
	return fmt.Errorf("the agent has no line: %q", ends)
}
