package pcap

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
)

// TLSKeys are the secrets of TLS connections, by which captures of them can be
// read. They come from the programs that made the connections, in the format
// that NSS began and SSLKEYLOGFILE names
// (https://datatracker.ietf.org/doc/draft-ietf-tls-keylogfile), or stand in a
// pcapng file itself. They are held in memory and go nowhere.
type TLSKeys struct {
	// byRandom holds the secrets of a connection by its client's random number.
	byRandom map[[32]byte]*tlsSecrets
	// lines counts those that tell a secret, strange ones that do not.
	lines, strange uint64
}

// tlsSecrets are those of one connection; what is not known is empty.
type tlsSecrets struct {
	// master is that of TLS 1.2, 48 bytes.
	master []byte
	// handshake and traffic are those of TLS 1.3, the client's first.
	handshake, traffic [2][]byte
}

// maxTLSKeys bounds the connections whose secrets are held, maxKeyLine a line of
// a key log.
const (
	maxTLSKeys = 1 << 20
	maxKeyLine = 4 << 10
)

// NewTLSKeys returns an empty set.
func NewTLSKeys() *TLSKeys { return &TLSKeys{byRandom: map[[32]byte]*tlsSecrets{}} }

// Connections returns how many connections secrets are known of.
func (k *TLSKeys) Connections() int { return len(k.byRandom) }

// Read adds the secrets of a key log. Labels that are not needed are passed over;
// lines that are none of a key log are counted, and are an error if there is
// nothing else. Errors never quote a line.
func (k *TLSKeys) Read(r io.Reader) error {
	before, strange := k.lines, k.strange
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 0, maxKeyLine), maxKeyLine)
	for s.Scan() {
		k.line(s.Bytes())
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read the TLS key log: %w", err)
	}
	if k.strange > strange && k.lines == before {
		return fmt.Errorf("this is no TLS key log: none of its %d lines has a label, a client random and a secret; "+
			"give the file that SSLKEYLOGFILE named when the connections were made", k.strange-strange)
	}
	return nil
}

// line takes one line: a label, the client's random number, a secret.
func (k *TLSKeys) line(line []byte) {
	fields := bytes.Fields(line)
	if len(fields) == 0 || fields[0][0] == '#' {
		return
	}
	var random [32]byte
	if len(fields) != 3 || len(fields[1]) != 64 || len(fields[2])%2 != 0 || len(fields[2]) > 2*64 {
		k.strange++
		return
	}
	secret := make([]byte, len(fields[2])/2)
	_, err := hex.Decode(random[:], fields[1])
	if _, bad := hex.Decode(secret, fields[2]); err != nil || bad != nil || len(secret) == 0 {
		k.strange++
		return
	}
	k.lines++
	of := k.byRandom[random]
	if of == nil {
		if len(k.byRandom) >= maxTLSKeys {
			return
		}
		of = &tlsSecrets{}
	}
	switch string(fields[0]) {
	case "CLIENT_RANDOM":
		of.master = secret
	case "CLIENT_HANDSHAKE_TRAFFIC_SECRET":
		of.handshake[0] = secret
	case "SERVER_HANDSHAKE_TRAFFIC_SECRET":
		of.handshake[1] = secret
	case "CLIENT_TRAFFIC_SECRET_0":
		of.traffic[0] = secret
	case "SERVER_TRAFFIC_SECRET_0":
		of.traffic[1] = secret
	default:
		return // of no use here
	}
	k.byRandom[random] = of
}

// tlsSecrets returns the secrets of a connection, nil where none are known.
func (b *builder) tlsSecrets(random [32]byte) *tlsSecrets {
	for _, keys := range b.keys {
		if keys != nil {
			if s := keys.byRandom[random]; s != nil {
				return s
			}
		}
	}
	return nil
}
