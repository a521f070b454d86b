package pipeline

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
)

// plan is a range of one partition that is inserted as one block: what stands in
// the metadata of a commit while the range may be inserted or not.
type plan struct {
	// first and next are the half-open range of offsets.
	first, next int64
	// nonce tells the range from others of the same numbers: a topic that was
	// made anew counts from 0 again, and an operator may set offsets back.
	nonce string
	// shards is how many shards its calls are cut into; 0 is not at all. Who
	// repeats the plan cuts as it says, whatever the cluster is by then.
	shards int
	// left are the messages of the range that are not stored.
	left leftOut
}

// errPlan is metadata that holds no plan.
var errPlan = errors.New("the metadata of the committed offset holds no plan")

// The forms of a plan: whole, cut into shards, and either with messages left out.
const (
	planForm  = "scopedrift/1 %d %d %s"
	shardForm = "scopedrift/2 %d %d %s %d"
	leftForm  = "scopedrift/3 %d %d %s %d %s"
)

func newPlan(first, next int64, shards int, left leftOut) plan {
	var nonce [8]byte
	_, _ = rand.Read(nonce[:]) // crypto/rand never fails
	return plan{first, next, hex.EncodeToString(nonce[:]), shards, left}
}

// String is the metadata.
func (p plan) String() string {
	switch {
	case len(p.left) > 0:
		return fmt.Sprintf(leftForm, p.first, p.next, p.nonce, p.shards, p.left.text(p.first))
	case p.shards > 0:
		return fmt.Sprintf(shardForm, p.first, p.next, p.nonce, p.shards)
	}
	return fmt.Sprintf(planForm, p.first, p.next, p.nonce)
}

// token is the deduplication token of the range: all that a repetition has to
// have in common with the first attempt.
func (p plan) token(topic string, partition int) string {
	return fmt.Sprintf("kafka/%s/%d/%d-%d/%s", topic, partition, p.first, p.next, p.nonce)
}

// parsePlan reads what stands beside a committed offset; ok is false where
// nothing is planned.
func parsePlan(metadata string, committed int64) (p plan, ok bool, err error) {
	if metadata == "" {
		return plan{}, false, nil
	}
	switch {
	case strings.HasPrefix(metadata, "scopedrift/3 "):
		var left string
		if _, err = fmt.Sscanf(metadata, leftForm, &p.first, &p.next, &p.nonce, &p.shards, &left); err == nil {
			p.left, err = parseLeftOut(left, p.first, p.next)
		}
	case strings.HasPrefix(metadata, "scopedrift/2 "):
		_, err = fmt.Sscanf(metadata, shardForm, &p.first, &p.next, &p.nonce, &p.shards)
	default:
		_, err = fmt.Sscanf(metadata, planForm, &p.first, &p.next, &p.nonce)
	}
	if err != nil || p.String() != metadata || len(p.nonce) > 64 || p.shards < 0 || p.shards > mostShards {
		return plan{}, false, errPlan
	}
	if p.first != committed || p.next <= p.first {
		return plan{}, false, fmt.Errorf("the plan for offsets %d to %d does not begin at the committed offset %d: it was set by hand", p.first, p.next, committed)
	}
	return p, true, nil
}
