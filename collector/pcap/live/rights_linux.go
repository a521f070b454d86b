package live

import (
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DropRights gives up the rights to capture and to change the network, for good
// and in all threads. Sockets that are open stay so. What the process may do
// besides, it still may.
func DropRights() error {
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&head, &data[0]); err != nil {
		return fmt.Errorf("ask which rights the process has: %w", err)
	}
	const keep = ^uint32(1<<unix.CAP_NET_RAW | 1<<unix.CAP_NET_ADMIN)
	data[0].Effective &= keep
	data[0].Permitted &= keep
	data[0].Inheritable &= keep
	// A capability is a thread's own, and any thread may run any goroutine.
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&data[0])), 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOTSUP:
		return fmt.Errorf("give up the right to capture: %w with cgo, which has threads that Go does not know; build with CGO_ENABLED=0", errno)
	}
	return fmt.Errorf("give up the right to capture: %w", errno)
}
