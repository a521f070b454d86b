package pipeline_test

import (
	"testing"

	"github.com/scopedrift/scopedrift/pipeline/kafka/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Run(m) }
