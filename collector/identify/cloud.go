package identify

import (
	"bytes"

	"github.com/scopedrift/scopedrift/schema"
)

// cloud: the userIdentity of a CloudTrail record.
//
// A long-term key is known by its id. Whatever was issued for a time is known
// by what it was issued to: a role session by the role, with the key as
// instance and role/session as session; a user who signed in or fetched session
// tokens by the user's ARN; root's sign-ins (user_token) by root's ARN. Issuer is
// the account.
func (r *rules) cloud() bool {
	c := &r.ev.Cloud
	if len(c.Type) == 0 && len(c.ARN) == 0 && len(c.PrincipalID) == 0 && len(c.AccessKey) == 0 && len(c.InvokedBy) == 0 && len(c.UserName) == 0 {
		return false
	}
	arn, isARN := ParseARN(c.ARN)
	account := c.AccountID
	if len(account) == 0 && isARN {
		account = arn.Account
	}
	cr := &r.out.Credential
	*cr = schema.Credential{Issuer: r.str(account), Verified: true}
	switch string(c.Type) {
	case "AssumedRole":
		r.roleSession(&arn, isARN)
	case "IAMUser":
		r.iamUser(account)
	case "Root":
		r.root(account)
	case "FederatedUser":
		r.federatedUser(&arn, isARN)
	case "SAMLUser", "WebIdentityUser":
		r.externalUser()
	case "AWSService":
		cr.Kind, cr.Issuer = schema.KindServiceAccount, ""
		cr.ID = r.first(c.InvokedBy, c.PrincipalID, c.ARN, c.UserName)
	case "AWSAccount":
		r.otherAccount(&arn, isARN, account)
	case "IdentityCenterUser", "Directory":
		cr.Kind, cr.ID, cr.Instance = schema.KindUserToken, r.first(c.ARN, c.PrincipalID, c.UserName), r.str(c.AccessKey)
	default:
		r.byARN(&arn, isARN, account)
	}
	if cr.ID == "" {
		// A principal of which the log shows nothing but the account: not known.
		cr.Kind, cr.Verified = schema.KindUnknown, false
	}
	r.actor(c.InvokedBy)
	r.actor(c.SourceIdentity)
	return true
}

// first returns the first name that is there.
func (r *rules) first(names ...[]byte) string {
	for _, n := range names {
		if len(n) > 0 {
			return r.str(n)
		}
	}
	return ""
}

// roleSession: a session of a role. Its ARN names the role without its path;
// the session's issuer names it in full and goes first.
func (r *rules) roleSession(arn *ARN, isARN bool) {
	c, cr := &r.ev.Cloud, &r.out.Credential
	cr.Kind, cr.Instance = schema.KindRoleSession, r.str(c.AccessKey)
	var role, session []byte
	if isARN {
		role, session, _ = arn.AssumedRole()
	}
	if bytes.Contains(c.IssuerARN, []byte(":role/")) {
		role = c.IssuerARN
	}
	principal, name, found := bytes.Cut(c.PrincipalID, []byte(":"))
	if len(session) == 0 && found && len(name) > 0 {
		if i := bytes.LastIndexByte(role, '/'); i >= 0 {
			name = bytes.Join([][]byte{role[i+1:], name}, []byte("/"))
		}
		session = name
	}
	cr.Session = r.str(session)
	cr.ID = r.first(role, c.ARN, principal, c.UserName)
}

// hiddenUser stands in a failed sign-in for a name that does not exist, since
// people type their password there.
const hiddenUser = "HIDDEN_DUE_TO_SECURITY_REASONS"

// iamUser: a user by a long-term key, else by the user's own name.
func (r *rules) iamUser(account []byte) {
	c, cr := &r.ev.Cloud, &r.out.Credential
	user := r.first(c.ARN, c.PrincipalID)
	if user == "" && len(c.UserName) > 0 && string(c.UserName) != hiddenUser {
		user = r.pair(account, c.UserName)
	}
	switch {
	case longTermKey(c.AccessKey):
		cr.Kind, cr.ID, cr.Subject = schema.KindCloudKey, r.str(c.AccessKey), user
	case len(c.AccessKey) > 0 && !temporaryKey(c.AccessKey) && len(c.IssuerARN) == 0:
		// A key whose id was masked: the user is all that is left to know it by.
		cr.Kind, cr.ID, cr.Instance = schema.KindCloudKey, user, r.str(c.AccessKey)
	default:
		cr.Kind, cr.ID, cr.Instance = schema.KindUserToken, user, r.str(c.AccessKey)
	}
}

func (r *rules) root(account []byte) {
	c, cr := &r.ev.Cloud, &r.out.Credential
	cr.Kind, cr.Instance = schema.KindUserToken, r.str(c.AccessKey)
	if cr.ID = r.str(c.ARN); cr.ID == "" && len(account) > 0 {
		cr.ID = r.str(bytes.Join([][]byte{[]byte("arn:aws:iam::"), account, []byte(":root")}, nil))
	}
	if longTermKey(c.AccessKey) {
		cr.Kind, cr.ID, cr.Subject, cr.Instance = schema.KindCloudKey, cr.Instance, cr.ID, ""
	}
}

// federatedUser: keys from GetFederationToken, known by the user who fetched
// them; the federated name is the subject.
func (r *rules) federatedUser(arn *ARN, isARN bool) {
	c, cr := &r.ev.Cloud, &r.out.Credential
	cr.Kind, cr.Instance = schema.KindRoleSession, r.str(c.AccessKey)
	cr.ID = r.first(c.IssuerARN, c.ARN, c.PrincipalID)
	if isARN {
		cr.Session = r.str(arn.Resource)
	}
	if len(c.IssuerARN) > 0 {
		cr.Subject = r.str(c.ARN)
	}
}

// externalUser: somebody whom another identity provider vouches for, about to
// assume a role.
func (r *rules) externalUser() {
	c, cr := &r.ev.Cloud, &r.out.Credential
	cr.Kind, cr.Subject = schema.KindUserToken, r.str(c.UserName)
	if bytes.HasPrefix(c.UserName, []byte("system:serviceaccount:")) {
		cr.Kind = schema.KindServiceAccount
	}
	if len(c.Provider) > 0 && len(c.UserName) > 0 {
		cr.Issuer, cr.ID = r.str(c.Provider), r.pair(c.Provider, c.UserName)
		return
	}
	cr.ID = r.first(c.PrincipalID, c.UserName, c.ARN)
}

// anonymousAccount stands for the account of who signed nothing.
const anonymousAccount = "ANONYMOUS_PRINCIPAL"

// otherAccount: a principal of another account, of which the log shows little.
func (r *rules) otherAccount(arn *ARN, isARN bool, account []byte) {
	c, cr := &r.ev.Cloud, &r.out.Credential
	switch {
	case string(account) == anonymousAccount:
		*cr = schema.Credential{Kind: schema.KindAnonymous, ID: anonymousAccount}
	case isARN:
		r.byARN(arn, true, account)
	case bytes.HasPrefix(c.PrincipalID, []byte("AROA")):
		r.roleSession(arn, false)
	case bytes.HasPrefix(c.PrincipalID, []byte("AIDA")):
		r.iamUser(account)
	default:
		cr.ID = r.first(c.PrincipalID, account)
	}
}

// byARN: a type that is missing or new, judged by the ARN alone.
func (r *rules) byARN(arn *ARN, isARN bool, account []byte) {
	c, cr := &r.ev.Cloud, &r.out.Credential
	switch {
	case isARN && bytes.HasPrefix(arn.Resource, []byte("assumed-role/")):
		r.roleSession(arn, true)
	case isARN && bytes.HasPrefix(arn.Resource, []byte("user/")), longTermKey(c.AccessKey):
		r.iamUser(account)
	case isARN && string(arn.Resource) == "root":
		r.root(account)
	case isARN && bytes.HasPrefix(arn.Resource, []byte("federated-user/")):
		r.federatedUser(arn, true)
	default:
		cr.ID, cr.Instance = r.first(c.ARN, c.PrincipalID, c.UserName, c.InvokedBy), r.str(c.AccessKey)
		if len(c.ARN) == 0 && len(c.PrincipalID) == 0 && len(c.UserName) == 0 && len(c.InvokedBy) > 0 {
			cr.Kind = schema.KindServiceAccount
		}
	}
}
