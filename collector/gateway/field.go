package gateway

// fieldName is a canonical field: a part of a call or of the evidence of who is
// calling, whatever the log calls it.
type fieldName uint8

const (
	fTime fieldName = iota
	fMethod
	fTarget
	fRequest
	fHost
	fStatus
	fGRPCStatus
	fContentType
	fDuration
	fFinished
	fRequestBytes
	fResponseBytes
	fClient
	fForwardedFor
	fPeer
	fUserAgent
	fRequestID
	fTraceID
	fTenant
	fOperation
	fResource
	fPolicy
	fMints
	fPermissions
	fErrorCode
	fErrorMessage
	fAnnotation
	fLocation

	fKeyID
	fAPIClient
	fJWTIssuer
	fJWTAuthorizedParty
	fJWTClientID
	fJWTSubject
	fJWTID
	fJWTAudience
	fJWTScopes
	fJWTIssuedAt
	fJWTExpires
	fJWTActors
	fAuthorization
	fAPIKey
	fSessionCookie
	fBasicUser
	fXFCC
	fPeerURISAN
	fPeerSubject
	fPeerFingerprint
	fK8sUser
	fK8sGroups
	fK8sCredentialID
	fK8sImpersonated
	fK8sImpersonatedGroups
	fK8sPod
	fK8sNode
	fCloudType
	fCloudARN
	fCloudAccount
	fCloudPrincipal
	fCloudUser
	fCloudAccessKey
	fCloudInvokedBy
	fCloudIssuerARN
	fCloudIssuerType
	fCloudProvider
	fCloudSourceIdentity
	fieldCount0
)

// callFields and credentialFields are the words of a preset's two lists.
var callFields = []string{
	fTime: "time", fMethod: "method", fTarget: "target", fRequest: "request", fHost: "host", fStatus: "status",
	fGRPCStatus: "grpc_status", fContentType: "content_type", fDuration: "duration", fFinished: "finished", fRequestBytes: "request_bytes",
	fResponseBytes: "response_bytes", fClient: "client", fForwardedFor: "forwarded_for", fPeer: "peer",
	fUserAgent: "user_agent", fRequestID: "request_id", fTraceID: "trace_id", fTenant: "tenant",
	fOperation: "operation", fResource: "resource", fPolicy: "policy", fMints: "mints", fPermissions: "permissions",
	fErrorCode: "error_code", fErrorMessage: "error_message", fAnnotation: "annotation", fLocation: "location",
}

var credentialFields = []string{
	fKeyID: "key_id", fAPIClient: "api_client", fJWTIssuer: "jwt_issuer", fJWTAuthorizedParty: "jwt_authorized_party",
	fJWTClientID: "jwt_client_id", fJWTSubject: "jwt_subject", fJWTID: "jwt_id", fJWTAudience: "jwt_audience",
	fJWTScopes: "jwt_scopes", fJWTIssuedAt: "jwt_issued_at", fJWTExpires: "jwt_expires", fJWTActors: "jwt_actors",
	fAuthorization: "authorization", fAPIKey: "api_key", fSessionCookie: "session_cookie", fBasicUser: "basic_user",
	fXFCC: "xfcc", fPeerURISAN: "peer_uri_san", fPeerSubject: "peer_subject", fPeerFingerprint: "peer_fingerprint",
	fK8sUser: "k8s_user", fK8sGroups: "k8s_groups", fK8sCredentialID: "k8s_credential_id",
	fK8sImpersonated: "k8s_impersonated", fK8sImpersonatedGroups: "k8s_impersonated_groups", fK8sPod: "k8s_pod",
	fK8sNode: "k8s_node", fCloudType: "cloud_type", fCloudARN: "cloud_arn", fCloudAccount: "cloud_account",
	fCloudPrincipal: "cloud_principal", fCloudUser: "cloud_user", fCloudAccessKey: "cloud_access_key",
	fCloudInvokedBy: "cloud_invoked_by", fCloudIssuerARN: "cloud_issuer_arn", fCloudIssuerType: "cloud_issuer_type",
	fCloudProvider: "cloud_provider", fCloudSourceIdentity: "cloud_source_identity",
}
