package live

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/bpf"
)

// Filter expressions are a small part of what tcpdump reads, with its words:
//
//	expression = term { "or" term }
//	term       = factor { "and" factor }
//	factor     = "not" factor | "(" expression ")" | primitive
//	primitive  = ["tcp" | "udp"] ["src" | "dst"] ("port" N | "portrange" N-M | "host" ADDRESS | "net" PREFIX)
//	           | "tcp" | "udp" | "ip" | "ip6"
//
// Unlike tcpdump's, a port matches later fragments of any datagram, since they
// do not say theirs.

// node is a part of an expression.
type node interface{ isNode() }

type (
	orNode  struct{ a, b node }
	andNode struct{ a, b node }
	notNode struct{ a node }
	// primitive is one question about a packet.
	primitive struct {
		kind     string // port, host, proto, version
		src, dst bool
		proto    uint32 // 6, 17, 0 for either
		low, hi  uint16
		prefix   netip.Prefix
		version  int
	}
)

func (orNode) isNode()    {}
func (andNode) isNode()   {}
func (notNode) isNode()   {}
func (primitive) isNode() {}

// parser reads an expression word by word.
type parser struct {
	words []string
	depth int
}

var errDepth = errors.New("the filter is nested too deeply; write it flatter")

func parse(text string) (node, error) {
	text = strings.NewReplacer("(", " ( ", ")", " ) ", "!", " not ").Replace(text)
	p := &parser{words: strings.Fields(text)}
	n, err := p.expression()
	if err != nil {
		return nil, err
	}
	if len(p.words) > 0 {
		return nil, fmt.Errorf("the filter goes on with %q where it should end; join parts with \"and\" or \"or\"", p.words[0])
	}
	return n, nil
}

func (p *parser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

func (p *parser) take() string {
	w := p.peek()
	if w != "" {
		p.words = p.words[1:]
	}
	return w
}

func (p *parser) expression() (node, error) {
	if p.depth++; p.depth > 64 {
		return nil, errDepth
	}
	defer func() { p.depth-- }()
	n, err := p.term()
	for err == nil && (p.peek() == "or" || p.peek() == "||") {
		p.take()
		var b node
		b, err = p.term()
		n = orNode{n, b}
	}
	return n, err
}

func (p *parser) term() (node, error) {
	n, err := p.factor()
	for err == nil && (p.peek() == "and" || p.peek() == "&&") {
		p.take()
		var b node
		b, err = p.factor()
		n = andNode{n, b}
	}
	return n, err
}

func (p *parser) factor() (node, error) {
	switch p.peek() {
	case "not":
		if p.depth++; p.depth > 64 {
			return nil, errDepth
		}
		defer func() { p.depth-- }()
		p.take()
		n, err := p.factor()
		return notNode{n}, err
	case "(":
		p.take()
		n, err := p.expression()
		if err == nil && p.take() != ")" {
			err = errors.New("a bracket is not closed in the filter; add \")\"")
		}
		return n, err
	}
	return p.primitive()
}

func (p *parser) primitive() (node, error) {
	q := primitive{src: true, dst: true}
	switch p.peek() {
	case "tcp", "udp":
		if q.proto = 6; p.take() == "udp" {
			q.proto = 17
		}
		q.kind = "proto"
	case "ip", "ip6":
		if q.version = 4; p.take() == "ip6" {
			q.version = 6
		}
		q.kind = "version"
		return q, nil
	}
	switch p.peek() {
	case "src":
		p.take()
		q.dst = false
	case "dst":
		p.take()
		q.src = false
	}
	switch word := p.peek(); word {
	case "port", "portrange":
		p.take()
		low, hi, ranged := strings.Cut(p.take(), "-")
		if !ranged {
			hi = low
		}
		a, err1 := strconv.ParseUint(low, 10, 16)
		b, err2 := strconv.ParseUint(hi, 10, 16)
		if err1 != nil || err2 != nil || a > b || ranged != (word == "portrange") {
			return nil, fmt.Errorf("%s is not followed by what it needs; write \"port 8080\" or \"portrange 8000-8099\"", word)
		}
		q.kind, q.low, q.hi = "port", uint16(a), uint16(b)
		return q, nil
	case "host", "net":
		if q.proto != 0 {
			return nil, fmt.Errorf("%s takes no protocol before it; write \"tcp and %s ...\"", word, word)
		}
		p.take()
		text := p.take()
		var err error
		if strings.Contains(text, "/") {
			q.prefix, err = netip.ParsePrefix(text)
		} else {
			var a netip.Addr
			if a, err = netip.ParseAddr(text); err == nil {
				q.prefix = netip.PrefixFrom(a, a.BitLen())
			}
		}
		if err != nil || word == "host" && !q.prefix.IsSingleIP() || q.prefix.Addr().Is4In6() || q.prefix.Addr().Zone() != "" {
			return nil, fmt.Errorf("%q is no address after %s; write \"host 10.0.0.7\" or \"net 10.0.0.0/8\" (names are not looked up)", text, word)
		}
		q.kind, q.prefix = "host", q.prefix.Masked()
		return q, nil
	}
	if q.kind == "proto" && q.src && q.dst {
		return q, nil
	}
	if p.peek() == "" {
		return nil, errors.New("the filter ends too early; write for example \"tcp port 8080 and net 10.0.0.0/8\"")
	}
	return nil, fmt.Errorf("the filter does not know %q; it knows port, portrange, host, net, src, dst, tcp, udp, ip, ip6, and, or, not", p.peek())
}

// step is an instruction with labels for jumps.
type step struct {
	ins     bpf.Instruction
	label   int // of this step, 0 for none
	cond    bpf.JumpTest
	val     uint32
	yes, no int // labels; 0 goes on
	jump    bool
}

// compiler writes the program. at is where the IP header begins.
type compiler struct {
	steps  []step
	labels int
	at     uint32
	raw    bool // no Ethernet header before it
}

func (c *compiler) label() int { c.labels++; return c.labels }
func (c *compiler) do(ins bpf.Instruction) {
	c.steps = append(c.steps, step{ins: ins})
}
func (c *compiler) mark(label int) { c.steps = append(c.steps, step{label: label}) }
func (c *compiler) test(cond bpf.JumpTest, val uint32, yes, no int) {
	c.steps = append(c.steps, step{cond: cond, val: val, yes: yes, no: no, jump: true})
}

// write writes n so that it ends at one of two labels.
func (c *compiler) write(n node, yes, no int) {
	switch n := n.(type) {
	case orNode:
		next := c.label()
		c.write(n.a, yes, next)
		c.mark(next)
		c.write(n.b, yes, no)
	case andNode:
		next := c.label()
		c.write(n.a, next, no)
		c.mark(next)
		c.write(n.b, yes, no)
	case notNode:
		c.write(n.a, no, yes)
	case primitive:
		c.primitive(n, yes, no)
	}
}

// version branches by the version of IP.
func (c *compiler) version(four, six, no int) {
	if c.raw {
		c.do(bpf.LoadAbsolute{Off: 0, Size: 1})
		c.do(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xf0})
		next := c.label()
		c.test(bpf.JumpEqual, 0x40, four, next)
		c.mark(next)
		c.test(bpf.JumpEqual, 0x60, six, no)
		return
	}
	c.do(bpf.LoadAbsolute{Off: 12, Size: 2})
	next := c.label()
	c.test(bpf.JumpEqual, 0x0800, four, next)
	c.mark(next)
	c.test(bpf.JumpEqual, 0x86dd, six, no)
}

func (c *compiler) primitive(p primitive, yes, no int) {
	four, six := c.label(), c.label()
	switch p.kind {
	case "version":
		if p.version == 4 {
			six = no
			c.version(yes, six, no)
		} else {
			c.version(no, yes, no)
		}
		return
	case "host":
		if p.prefix.Addr().Is4() {
			c.version(four, no, no)
			c.mark(four)
			c.addresses(p, 12, 16, yes, no)
		} else {
			c.version(no, six, no)
			c.mark(six)
			c.addresses(p, 8, 24, yes, no)
		}
		return
	}
	c.version(four, six, no)
	c.mark(four)
	c.do(bpf.LoadAbsolute{Off: c.at + 9, Size: 1})
	ports := c.protocol(p, no)
	if p.kind == "proto" {
		c.test(bpf.JumpEqual, 0xffffffff, yes, yes)
	} else {
		c.mark(ports)
		first := c.label()
		c.do(bpf.LoadAbsolute{Off: c.at + 6, Size: 2})
		c.test(bpf.JumpBitsSet, 0x1fff, yes, first)
		c.mark(first)
		c.do(bpf.LoadMemShift{Off: c.at})
		c.ports(p, func(off uint32) bpf.Instruction { return bpf.LoadIndirect{Off: c.at + off, Size: 2} }, yes, no)
	}
	c.mark(six)
	c.do(bpf.LoadAbsolute{Off: c.at + 6, Size: 1})
	whole := c.label()
	c.test(bpf.JumpEqual, 44, yes, whole) // a fragment
	c.mark(whole)
	ports = c.protocol(p, no)
	if p.kind == "proto" {
		c.test(bpf.JumpEqual, 0xffffffff, yes, yes)
		return
	}
	c.mark(ports)
	c.ports(p, func(off uint32) bpf.Instruction { return bpf.LoadAbsolute{Off: c.at + 40 + off, Size: 2} }, yes, no)
}

// protocol goes on only with the wanted protocol, at the label it returns.
func (c *compiler) protocol(p primitive, no int) int {
	next := c.label()
	if p.proto != 0 {
		c.test(bpf.JumpEqual, p.proto, next, no)
	} else {
		udp := c.label()
		c.test(bpf.JumpEqual, 6, next, udp)
		c.mark(udp)
		c.test(bpf.JumpEqual, 17, next, no)
	}
	c.mark(next)
	return c.label()
}

func (c *compiler) ports(p primitive, load func(uint32) bpf.Instruction, yes, no int) {
	check := func(off uint32, no int) {
		c.do(load(off))
		above := c.label()
		c.test(bpf.JumpGreaterOrEqual, uint32(p.low), above, no)
		c.mark(above)
		c.test(bpf.JumpGreaterThan, uint32(p.hi), no, yes)
	}
	if p.src && p.dst {
		next := c.label()
		check(0, next)
		c.mark(next)
		check(2, no)
	} else if p.src {
		check(0, no)
	} else {
		check(2, no)
	}
}

func (c *compiler) addresses(p primitive, src, dst uint32, yes, no int) {
	check := func(off uint32, no int) {
		b := p.prefix.Addr().AsSlice()
		bits := p.prefix.Bits()
		for i := 0; i < len(b) && bits > 0; i += 4 {
			mask := uint32(0xffffffff)
			if bits < 32 {
				mask <<= 32 - bits
			}
			want := uint32(b[i])<<24 | uint32(b[i+1])<<16 | uint32(b[i+2])<<8 | uint32(b[i+3])
			c.do(bpf.LoadAbsolute{Off: c.at + off + uint32(i), Size: 4})
			if mask != 0xffffffff {
				c.do(bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: mask})
			}
			next := c.label()
			c.test(bpf.JumpEqual, want, next, no)
			c.mark(next)
			bits -= 32
		}
		c.test(bpf.JumpEqual, 0, yes, yes)
	}
	switch {
	case p.src && p.dst:
		next := c.label()
		check(src, next)
		c.mark(next)
		check(dst, no)
	case p.src:
		check(src, no)
	default:
		check(dst, no)
	}
}

// resolve turns labels into distances.
func (c *compiler) resolve() ([]bpf.Instruction, error) {
	place := map[int]int{}
	at := 0
	for _, s := range c.steps {
		if s.label != 0 {
			place[s.label] = at
		} else {
			at++
		}
	}
	var out []bpf.Instruction
	for _, s := range c.steps {
		switch {
		case s.label != 0:
		case s.jump:
			yes, no := place[s.yes]-len(out)-1, place[s.no]-len(out)-1
			if yes > 255 || no > 255 || yes < 0 || no < 0 {
				return nil, errors.New("the filter is too long for the kernel; take fewer parts, or ranges and nets")
			}
			out = append(out, bpf.JumpIf{Cond: s.cond, Val: s.val, SkipTrue: uint8(yes), SkipFalse: uint8(no)})
		default:
			out = append(out, s.ins)
		}
	}
	return out, nil
}

// link says what stands before the IP header.
type link struct {
	raw      bool // nothing
	loopback bool // packets come twice, going out and coming in
}

// compile turns a filter into a program of the kernel.
func compile(text string, l link) ([]bpf.Instruction, error) {
	c := &compiler{at: 14, raw: l.raw}
	if l.raw {
		c.at = 0
	}
	take, drop := c.label(), c.label()
	if l.loopback {
		const outgoing = 4 // PACKET_OUTGOING
		first := c.label()
		c.do(bpf.LoadExtension{Num: bpf.ExtType})
		c.test(bpf.JumpEqual, outgoing, drop, first)
		c.mark(first)
	}
	if strings.TrimSpace(text) != "" {
		n, err := parse(text)
		if err != nil {
			return nil, err
		}
		c.write(n, take, drop)
	} else if !l.loopback {
		return nil, nil
	}
	c.mark(take)
	c.do(bpf.RetConstant{Val: 1 << 18})
	c.mark(drop)
	c.do(bpf.RetConstant{Val: 0})
	return c.resolve()
}

// Compile checks a filter: ports, hosts and nets joined by and, or, not and
// brackets, as in "tcp port 8080 and not net 10.1.0.0/16".
func Compile(text string) error {
	_, err := compile(text, link{loopback: true})
	return err
}
