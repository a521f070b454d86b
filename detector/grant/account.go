package grant

import (
	"encoding/json"
	"fmt"

	"github.com/scopedrift/scopedrift/schema"
	"github.com/scopedrift/scopedrift/schema/catalog"
)

// accountDetails is the output of get-account-authorization-details.
type accountDetails struct {
	UserDetailList  []holderDetail
	RoleDetailList  []holderDetail
	GroupDetailList []holderDetail
	Policies        []struct {
		PolicyName        string
		Arn               string
		PolicyVersionList []struct {
			IsDefaultVersion bool
			Document         json.RawMessage
		}
	}
}

// holderDetail is a user, role or group.
type holderDetail struct {
	UserName, RoleName, GroupName string
	Arn                           string
	// The three kinds name their own policies differently.
	UserPolicyList, RolePolicyList, GroupPolicyList []inlinePolicy
	AttachedManagedPolicies                         []attachedPolicy
	GroupList                                       []string
	PermissionsBoundary                             *struct{ PermissionsBoundaryArn string }
}

type inlinePolicy struct {
	PolicyName     string
	PolicyDocument json.RawMessage
}

type attachedPolicy struct{ PolicyName, PolicyArn string }

func (a *accountDetails) any() bool {
	return a.UserDetailList != nil || a.RoleDetailList != nil || a.GroupDetailList != nil
}

// account turns all users and roles into credentials; what a user's groups hold
// becomes the user's.
func (i *Import) account(a *accountDetails, authority string) error {
	managed := map[string]json.RawMessage{}
	for _, p := range a.Policies {
		for _, v := range p.PolicyVersionList {
			if v.IsDefaultVersion {
				managed[p.Arn] = v.Document
			}
		}
	}
	groups := map[string][]schema.Grant{}
	for n := range a.GroupDetailList {
		d := &a.GroupDetailList[n]
		grants, err := i.holder(d, managed, authority, "group "+d.GroupName)
		if err != nil {
			return err
		}
		groups[d.GroupName] = grants
	}
	for _, list := range [...][]holderDetail{a.UserDetailList, a.RoleDetailList} {
		for n := range list {
			d := &list[n]
			if d.Arn == "" {
				i.note("%q has no Arn and was passed over", d.UserName+d.RoleName)
				continue
			}
			grants, err := i.holder(d, managed, authority, d.UserName+d.RoleName)
			if err != nil {
				return err
			}
			for _, g := range d.GroupList {
				held, ok := groups[g]
				if !ok {
					i.note("%s is in group %s, which is not among the details, so what it gives is not known", d.Arn, g)
					held = []schema.Grant{unknownGrant(authority, "group "+g)}
				}
				grants = append(grants, held...)
			}
			if b := d.PermissionsBoundary; b != nil && b.PermissionsBoundaryArn != "" {
				i.note("%s has a permissions boundary: what its policies allow is not certain", d.Arn)
				grants = bounded(grants)
			}
			if len(grants) == 0 {
				grants = []schema.Grant{{Authority: authority, Dialect: schema.DialectIAM, Scopes: []string{}, Source: "no policies"}}
			}
			c := catalog.Credential{ID: d.Arn, Match: holderMatch(d.Arn), Grants: grants}
			i.Credentials = append(i.Credentials, c)
		}
	}
	i.sort()
	return nil
}

// holder gathers the grants of all the policies of a user, role or group.
func (i *Import) holder(d *holderDetail, managed map[string]json.RawMessage, authority, who string) ([]schema.Grant, error) {
	var grants []schema.Grant
	for _, list := range [...][]inlinePolicy{d.UserPolicyList, d.RolePolicyList, d.GroupPolicyList} {
		for _, p := range list {
			g, err := i.policy(p.PolicyDocument, authority, "policy "+p.PolicyName+" of "+who)
			if err != nil {
				return nil, err
			}
			grants = append(grants, g...)
		}
	}
	for _, p := range d.AttachedManagedPolicies {
		document, ok := managed[p.PolicyArn]
		if !ok {
			i.note("%s has policy %s, which is not among the details, so what it gives is not known", who, p.PolicyArn)
			grants = append(grants, unknownGrant(authority, "policy "+p.PolicyArn))
			continue
		}
		g, err := i.policy(document, authority, "policy "+p.PolicyName)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", who, err)
		}
		grants = append(grants, g...)
	}
	return grants, nil
}

// unknownGrant stands for rights that exist but are not known.
func unknownGrant(authority, source string) schema.Grant {
	return schema.Grant{Authority: authority, Dialect: schema.DialectIAM, Scopes: []string{"*"}, Conditional: true, Source: source}
}

// bounded makes every allow uncertain. The list may be shared, so it is copied.
func bounded(grants []schema.Grant) []schema.Grant {
	out := make([]schema.Grant, len(grants))
	copy(out, grants)
	for n := range out {
		out[n].Conditional = out[n].Conditional || out[n].Effect == schema.EffectAllow
	}
	return out
}
