package scenario

import (
	"fmt"
	"time"
)

const account = "123456789012"

// cloudCaller is somebody who calls the cloud's API.
type cloudCaller struct {
	// user is an IAM user with its key; role and session are of an assumed
	// role.
	user, role, session string
	key                 string
	address, agent      string
}

var (
	backup = cloudCaller{user: "backup-exporter", key: "AKIAEXAMPLEBACKUP001", address: "10.20.4.9", agent: "aws-sdk-go/1.55 backup"}
	// thief is the same key in other hands.
	thief   = cloudCaller{user: "backup-exporter", key: "AKIAEXAMPLEBACKUP001", address: "203.0.113.77", agent: "aws-cli/2.27 Python/3.12 Linux"}
	runtime = cloudCaller{role: "orders-runtime", session: "i-0exampleorders1", key: "ASIAEXAMPLERUNTIME01", address: "10.20.8.15", agent: "aws-sdk-go/1.55 orders"}
	cloudCI = cloudCaller{role: "ci-deployer", session: "build", key: "ASIAEXAMPLECIDEPLOY1", address: "10.30.1.7", agent: "aws-cli/2.27 ci"}
	admin   = cloudCaller{role: "platform-admin", session: "noor", key: "ASIAEXAMPLEPLATADMIN", address: "10.70.2.31", agent: "console.amazonaws.com"}
	// scratch is a role that nobody declared.
	scratch = cloudCaller{role: "data-scratch", session: "notebook", key: "ASIAEXAMPLESCRATCH01", address: "10.20.6.66", agent: "Boto3/1.40"}
)

// api writes one call to the cloud trail. code is the error code, "" without.
func (w *world) api(c cloudCaller, at time.Time, source, name, code string, parameters map[string]any, arns ...string) {
	at = at.Truncate(time.Second)
	identity := map[string]any{"accountId": account, "accessKeyId": c.key}
	if c.user != "" {
		identity["type"], identity["userName"] = "IAMUser", c.user
		identity["principalId"], identity["arn"] = "AIDAEXAMPLE0000000001", "arn:aws:iam::"+account+":user/"+c.user
	} else {
		role := "arn:aws:iam::" + account + ":role/" + c.role
		identity["type"], identity["principalId"] = "AssumedRole", "AROAEXAMPLE0000000001:"+c.session
		identity["arn"] = "arn:aws:sts::" + account + ":assumed-role/" + c.role + "/" + c.session
		identity["sessionContext"] = map[string]any{
			"sessionIssuer": map[string]string{"type": "Role", "principalId": "AROAEXAMPLE0000000001", "arn": role, "accountId": account, "userName": c.role},
			"attributes":    map[string]string{"creationDate": at.Truncate(6 * time.Hour).Format(time.RFC3339), "mfaAuthenticated": "false"},
		}
	}
	trail := map[string]any{
		"eventVersion": "1.10", "userIdentity": identity, "eventTime": at.Format(time.RFC3339), "eventSource": source + ".amazonaws.com",
		"eventName": name, "awsRegion": "eu-central-1", "sourceIPAddress": c.address, "userAgent": c.agent, "requestParameters": parameters,
		"responseElements": nil, "requestID": w.hexID(8), "eventID": w.uuid(), "readOnly": true, "eventType": "AwsApiCall",
		"managementEvent": true, "recipientAccountId": account, "eventCategory": "Management",
	}
	if code != "" {
		trail["errorCode"] = code
		trail["errorMessage"] = "User is not authorized to perform: " + source + ":" + name
	}
	var resources []map[string]string
	for _, arn := range arns {
		resources = append(resources, map[string]string{"ARN": arn, "accountId": account})
	}
	if resources != nil {
		trail["resources"] = resources
	}
	w.put("cloud/trail.ndjson", "cloud", at, encode(trail))
}

// s3 writes one object call.
func (w *world) s3(c cloudCaller, at time.Time, name, bucket, key, code string) {
	parameters := map[string]any{"bucketName": bucket}
	arn := "arn:aws:s3:::" + bucket
	if key != "" {
		parameters["key"] = key
		arn += "/" + key
	}
	w.api(c, at, "s3", name, code, parameters, arn)
}

// cloud tells the month of the cloud account.
func (w *world) cloud() {
	const archive, documents = "harbourline-archive", "harbourline-documents"
	w.repeat(12, at(3), func(t time.Time) {
		w.s3(backup, t, "PutObject", archive, fmt.Sprintf("%s/part-%02d.zst", t.Format(time.DateOnly), w.rand.IntN(12)), "")
	})
	w.repeat(2, at(3), func(t time.Time) { w.s3(backup, t, "ListObjects", archive, "", "") })
	w.repeat(2, at(3), func(t time.Time) {
		w.api(backup, t, "kms", "GenerateDataKey", "", map[string]any{"keySpec": "AES_256"}, "arn:aws:kms:eu-central-1:"+account+":key/11111111-2222-4333-8444-555555555555")
	})
	w.repeat(2, daylight, func(t time.Time) {
		w.s3(runtime, t, "PutObject", documents, fmt.Sprintf("orders/%d.pdf", 4000+w.rand.IntN(900)), "")
	})
	w.repeat(2, daylight, func(t time.Time) {
		code := ""
		if w.rand.IntN(20) == 0 {
			code = "NoSuchKey"
		}
		w.s3(runtime, t, "GetObject", documents, fmt.Sprintf("orders/%d.pdf", 4000+w.rand.IntN(900)), code)
	})
	w.repeat(.2, always, func(t time.Time) {
		w.api(runtime, t, "secretsmanager", "GetSecretValue", "", map[string]any{"secretId": "orders/database"}, "arn:aws:secretsmanager:eu-central-1:"+account+":secret:orders/database-AbCdEf")
	})
	w.repeat(.5, office, func(t time.Time) { w.api(cloudCI, t, "ecr", "GetAuthorizationToken", "", nil) })
	w.repeat(.5, office, func(t time.Time) {
		w.api(cloudCI, t, "ecr", "PutImage", "", map[string]any{"repositoryName": "orders"}, "arn:aws:ecr:eu-central-1:"+account+":repository/orders")
	})
	w.repeat(.3, office, func(t time.Time) { w.s3(cloudCI, t, "PutObject", "harbourline-releases", "orders/release.tar.zst", "") })
	w.repeat(.1, office, func(t time.Time) { w.api(admin, t, "ec2", "DescribeInstances", "", nil) })
	w.repeat(.05, office, func(t time.Time) { w.api(admin, t, "iam", "ListRoles", "", nil) })
	w.repeat(.1, office, func(t time.Time) { w.s3(scratch, t, "GetObject", archive, "export/orders.parquet", "") })
}
