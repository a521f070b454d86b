package gateway

import "github.com/scopedrift/scopedrift/collector/identify"

func (b *builder) name(e *identify.Evidence) {
	if i, ok := any(b.identify).(interface {
		Identify(*identify.Evidence, *identify.Identity)
	}); ok {
		i.Identify(e, &b.identity)
	}
}
