package wire

// The tags of all fields, number<<3 with the type: a test compares them with
// call.proto. Of numbers below 16 a tag takes one byte, so the frequent fields
// have those.
const (
	varint, bytes = 0, 2

	envelopeVersion  = 1<<3 | varint
	envelopeEpoch    = 2<<3 | varint
	envelopeSequence = 3<<3 | varint
	envelopeCall     = 4<<3 | bytes
	envelopeAccount  = 5<<3 | bytes

	callTime            = 1<<3 | varint
	callID              = 2<<3 | bytes
	callSource          = 3<<3 | bytes
	callReporter        = 4<<3 | varint
	callCredential      = 5<<3 | bytes
	callScopes          = 6<<3 | bytes
	callDecision        = 7<<3 | varint
	callMethod          = 8<<3 | bytes
	callHost            = 9<<3 | bytes
	callPath            = 10<<3 | bytes
	callStatus          = 11<<3 | varint
	callDuration        = 12<<3 | varint
	callClientAddress   = 13<<3 | bytes
	callUserAgent       = 14<<3 | bytes
	callRequestID       = 15<<3 | bytes
	callScopesKnown     = 16<<3 | varint
	callPermissionsUsed = 17<<3 | bytes
	callPolicy          = 18<<3 | bytes
	callService         = 19<<3 | bytes
	callOperation       = 20<<3 | bytes
	callRouteSource     = 21<<3 | varint
	callQueryKeys       = 22<<3 | bytes
	callResource        = 23<<3 | bytes
	callRequestBytes    = 24<<3 | varint
	callResponseBytes   = 25<<3 | varint
	callPeerAddress     = 26<<3 | bytes
	callWorkload        = 27<<3 | bytes
	callTenant          = 28<<3 | bytes
	callEnvironment     = 29<<3 | bytes
	callTraceID         = 30<<3 | bytes
	callActorChain      = 31<<3 | bytes
	callMints           = 32<<3 | bytes
	callQuality         = 33<<3 | varint

	sourceType = 1<<3 | bytes
	sourceName = 2<<3 | bytes

	credentialKind     = 1<<3 | varint
	credentialID       = 2<<3 | bytes
	credentialIssuer   = 3<<3 | bytes
	credentialSubject  = 4<<3 | bytes
	credentialClient   = 5<<3 | bytes
	credentialInstance = 6<<3 | bytes
	credentialSession  = 7<<3 | bytes
	credentialGroups   = 8<<3 | bytes
	credentialVerified = 9<<3 | varint

	accountInput     = 1<<3 | bytes
	accountFirstUnit = 2<<3 | varint
	accountNextUnit  = 3<<3 | varint
	accountCalls     = 4<<3 | varint
	accountSkipped   = 5<<3 | bytes
	accountFirstTime = 6<<3 | varint
	accountLastTime  = 7<<3 | varint
	accountDone      = 8<<3 | varint

	skippedReason = 1<<3 | bytes
	skippedCount  = 2<<3 | varint

	inputName     = 1<<3 | bytes
	inputFormat   = 2<<3 | bytes
	inputSize     = 3<<3 | varint
	inputModified = 4<<3 | varint
)

// The first and the last time that is read, in microseconds since 1970: the
// years 1 to 9999, which RFC 3339 can write.
const (
	minTime = -62135596800_000000
	maxTime = 253402300799_999999
)
