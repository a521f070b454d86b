package pcap

import "bufio"

// readBuffer holds the largest packet that is read without being skipped. Most files
// have none that usualBuffer does not hold, which is small enough for a cache.
const readBuffer, usualBuffer = 1 << 20, 128 << 10

// peek is Peek of a reader that grows for a packet which its buffer does not hold.
func peek(r **bufio.Reader, n int) ([]byte, error) {
	if n > (*r).Size() {
		*r = bufio.NewReaderSize(*r, readBuffer)
	}
	return (*r).Peek(n)
}
