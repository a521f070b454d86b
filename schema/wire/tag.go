package wire

// The tags of all fields, number<<3 with the type: a test compares them with
// call.proto. Of numbers below 16 a tag takes one byte, so the frequent fields
// have those.
const (
	varint, lengthy = 0, 2

	envelopeVersion  = 1<<3 | varint
	envelopeEpoch    = 2<<3 | varint
	envelopeSequence = 3<<3 | varint
	envelopeCall     = 4<<3 | lengthy
	envelopeAccount  = 5<<3 | lengthy

	callTime            = 1<<3 | varint
	callID              = 2<<3 | lengthy
	callSource          = 3<<3 | lengthy
	callReporter        = 4<<3 | varint
	callCredential      = 5<<3 | lengthy
	callScopes          = 6<<3 | lengthy
	callDecision        = 7<<3 | varint
	callMethod          = 8<<3 | lengthy
	callHost            = 9<<3 | lengthy
	callPath            = 10<<3 | lengthy
	callStatus          = 11<<3 | varint
	callDuration        = 12<<3 | varint
	callClientAddress   = 13<<3 | lengthy
	callUserAgent       = 14<<3 | lengthy
	callRequestID       = 15<<3 | lengthy
	callScopesKnown     = 16<<3 | varint
	callPermissionsUsed = 17<<3 | lengthy
	callPolicy          = 18<<3 | lengthy
	callService         = 19<<3 | lengthy
	callOperation       = 20<<3 | lengthy
	callRouteSource     = 21<<3 | varint
	callQueryKeys       = 22<<3 | lengthy
	callResource        = 23<<3 | lengthy
	callRequestBytes    = 24<<3 | varint
	callResponseBytes   = 25<<3 | varint
	callPeerAddress     = 26<<3 | lengthy
	callWorkload        = 27<<3 | lengthy
	callTenant          = 28<<3 | lengthy
	callEnvironment     = 29<<3 | lengthy
	callTraceID         = 30<<3 | lengthy
	callActorChain      = 31<<3 | lengthy
	callMints           = 32<<3 | lengthy
	callQuality         = 33<<3 | varint

	sourceType = 1<<3 | lengthy
	sourceName = 2<<3 | lengthy

	credentialKind     = 1<<3 | varint
	credentialID       = 2<<3 | lengthy
	credentialIssuer   = 3<<3 | lengthy
	credentialSubject  = 4<<3 | lengthy
	credentialClient   = 5<<3 | lengthy
	credentialInstance = 6<<3 | lengthy
	credentialSession  = 7<<3 | lengthy
	credentialGroups   = 8<<3 | lengthy
	credentialVerified = 9<<3 | varint

	accountInput     = 1<<3 | lengthy
	accountFirstUnit = 2<<3 | varint
	accountNextUnit  = 3<<3 | varint
	accountCalls     = 4<<3 | varint
	accountSkipped   = 5<<3 | lengthy
	accountFirstTime = 6<<3 | varint
	accountLastTime  = 7<<3 | varint
	accountDone      = 8<<3 | varint

	skippedReason = 1<<3 | lengthy
	skippedCount  = 2<<3 | varint

	inputName     = 1<<3 | lengthy
	inputFormat   = 2<<3 | lengthy
	inputSize     = 3<<3 | varint
	inputModified = 4<<3 | varint
)

// The first and the last time that is read, in microseconds since 1970: the
// years 1 to 9999, which RFC 3339 can write.
const (
	minTime = -62135596800_000000
	maxTime = 253402300799_999999
)
