package pipeline

import (
	"errors"

	"github.com/scopedrift/scopedrift/pipeline/clickhouse"
)

// healing are ClickHouse's codes for what passes without anybody's doing.
var healing = map[int]bool{
	3: true, 74: true, 75: true, 159: true, 160: true, 198: true, 202: true, 203: true, 209: true, 210: true, 225: true,
	236: true, 241: true, 242: true, 243: true, 252: true, 279: true, 285: true, 286: true, 319: true, 373: true, 394: true, 439: true,
	473: true, 499: true, 574: true, 722: true, 731: true, 999: true,
}

// heals says whether trying again may help without somebody changing something:
// the server is away, busy, or out of room. What it refuses for a reason, such
// as a missing column or right, it will refuse again.
func heals(err error) bool {
	var known *clickhouse.Error
	if !errors.As(clickhouse.Explain(err), &known) {
		return true // a time limit, or a matter of Kafka's
	}
	return known.Code == 0 && known.Kind != clickhouse.WrongTarget || healing[known.Code] ||
		known.Kind == clickhouse.Memory || known.Kind == clickhouse.DiskFull || known.Kind == clickhouse.Timeout
}
