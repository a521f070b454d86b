// Package chdb binds libchdb, ClickHouse as a shared library, without cgo.
//
// [Load] opens the library, [Library.Connect] boots the engine on one data
// directory; a [Conn] then runs one statement at a time: [Conn.Query] for
// statements without a large answer, [Conn.Stream] for answers of any size and
// [Conn.Insert] for rows in any ClickHouse format.
//
// It promises that a failure of the library comes back as an [*Error], that a
// handle is never used after it was closed (the library would crash), and that
// an answer is never held in memory as a whole unless the caller asks for it.
//
// It cannot survive a crash inside the library: that is C++ in this very
// process. Only the engine program links this package, see package engine for
// the side that lives in the command. It cannot interrupt a statement either;
// whoever needs that runs KILL QUERY on a second connection.
package chdb

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// ErrClosed is returned by every method of a connection that was closed.
var ErrClosed = errors.New("connection to the embedded engine is closed")

// errNull stands for a null pointer where the library owed a result; the
// library gives no reason in that case.
var errNull = errors.New("libchdb returned nothing where a result was due: the statement failed without a reason")

// Library is a loaded libchdb. A process can load it once and boot one engine,
// on one directory, in its life.
type Library struct {
	api api
}

// api holds the C functions that are used, by the names of chdb.h without the
// prefix. Sizes are size_t, states are enums of C's int, 0 is success.
type api struct {
	version                  func() string
	connect                  func(argc int32, argv **byte) *unsafe.Pointer
	closeConn                func(conn *unsafe.Pointer)
	queryWithParamsN         func(conn unsafe.Pointer, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer
	streamQueryWithParamsN   func(conn unsafe.Pointer, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer
	streamFetchResult        func(conn, stream unsafe.Pointer) unsafe.Pointer
	streamCancelQuery        func(conn, stream unsafe.Pointer)
	destroyQueryResult       func(result unsafe.Pointer)
	streamInsertWithParamsN  func(conn unsafe.Pointer, query *byte, queryLen uintptr, format *byte, formatLen uintptr, names **byte, nameLens *uintptr, values **byte, valueLens *uintptr, count uintptr) unsafe.Pointer
	streamAppend             func(stream unsafe.Pointer, data *byte, size uintptr) int32
	streamDone               func(stream unsafe.Pointer) unsafe.Pointer
	streamCancelInsert       func(stream unsafe.Pointer)
	streamInsertError        func(stream unsafe.Pointer) string
	destroyInsertStream      func(stream unsafe.Pointer)
	resultBuffer             func(result unsafe.Pointer) *byte
	resultLength             func(result unsafe.Pointer) uintptr
	resultRowsWritten        func(result unsafe.Pointer) uint64
	resultBytesWritten       func(result unsafe.Pointer) uint64
	resultStorageRowsRead    func(result unsafe.Pointer) uint64
	resultStorageBytesRead   func(result unsafe.Pointer) uint64
	resultError              func(result unsafe.Pointer) string
	setSignalHandlersEnabled func(enabled int32)
}

// Load opens the shared object at path and finds its functions. An error says
// what is wrong with the file: not there, another architecture, not libchdb,
// or a libchdb too old to have a function that is needed.
func Load(path string) (*Library, error) {
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	l := &Library{}
	for _, f := range []struct {
		name string
		fn   any
	}{
		{"chdb_version", &l.api.version},
		{"chdb_connect", &l.api.connect},
		{"chdb_close_conn", &l.api.closeConn},
		{"chdb_query_with_params_n", &l.api.queryWithParamsN},
		{"chdb_stream_query_with_params_n", &l.api.streamQueryWithParamsN},
		{"chdb_stream_fetch_result", &l.api.streamFetchResult},
		{"chdb_stream_cancel_query", &l.api.streamCancelQuery},
		{"chdb_destroy_query_result", &l.api.destroyQueryResult},
		{"chdb_stream_insert_with_params_n", &l.api.streamInsertWithParamsN},
		{"chdb_stream_append", &l.api.streamAppend},
		{"chdb_stream_done", &l.api.streamDone},
		{"chdb_stream_cancel_insert", &l.api.streamCancelInsert},
		{"chdb_stream_insert_error", &l.api.streamInsertError},
		{"chdb_destroy_insert_stream", &l.api.destroyInsertStream},
		{"chdb_result_buffer", &l.api.resultBuffer},
		{"chdb_result_length", &l.api.resultLength},
		{"chdb_result_rows_written", &l.api.resultRowsWritten},
		{"chdb_result_bytes_written", &l.api.resultBytesWritten},
		{"chdb_result_storage_rows_read", &l.api.resultStorageRowsRead},
		{"chdb_result_storage_bytes_read", &l.api.resultStorageBytesRead},
		{"chdb_result_error", &l.api.resultError},
		{"chdb_set_signal_handlers_enabled", &l.api.setSignalHandlersEnabled},
	} {
		sym, err := purego.Dlsym(handle, f.name)
		if err != nil {
			return nil, fmt.Errorf("load %s: no function %s: not a libchdb, or one that is too old", path, f.name)
		}
		purego.RegisterFunc(f.fn, sym)
	}
	// The Go runtime needs its own handlers; the library would replace them.
	l.api.setSignalHandlersEnabled(0)
	return l, nil
}

// Version is the library's own version, such as "26.7.3".
func (l *Library) Version() string { return l.api.version() }

// Connect opens a connection. The first one boots the engine and its arguments
// decide about the server (--path=DIR, --max_server_memory_usage=BYTES and so
// on); later ones must name the same path. Keep one connection open for as long
// as the engine is needed: closing the last one shuts it down.
func (l *Library) Connect(args ...string) (*Conn, error) {
	argv := make([]*byte, 0, len(args)+2)
	for _, a := range append([]string{"clickhouse"}, args...) {
		b := append([]byte(a), 0)
		argv = append(argv, &b[0])
	}
	argc := len(argv)
	argv = append(argv, nil)
	cell := l.api.connect(int32(argc), &argv[0])
	runtime.KeepAlive(argv)
	if cell == nil || *cell == nil {
		return nil, errors.New("libchdb refused to open a connection")
	}
	return &Conn{lib: l, cell: cell}, nil
}
