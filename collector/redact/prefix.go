package redact

// tail says what must follow a prefix for it to begin a secret.
type tail uint8

const (
	tailAny   tail = iota // letters, digits and joins
	tailHex               // hexadecimal digits only
	tailMixed             // capitals, small letters and digits, no joins
	// tailWide is Base64 with slashes: such a secret goes on over the
	// segments of a path.
	tailWide
	// tailWhole says that what stands before the prefix is a part of the
	// secret too.
	tailWhole
)

// prefix is how the secrets of one maker begin.
type prefix struct {
	text string
	// min is the least number of characters after text.
	min  int
	tail tail
	// bounded prefixes count only where no letter or digit stands before
	// them, since they are parts of words.
	bounded bool
}

// prefixes are published beginnings of secrets: the makers chose them so that
// scanners find them. The access key ids of AWS (AKIA, ASIA) are names, not
// secrets, and are not here.
var prefixes = []prefix{
	// GitHub, GitLab, Bitbucket, Atlassian
	{"ghp_", 12, tailAny, false}, {"gho_", 12, tailAny, false}, {"ghu_", 12, tailAny, false},
	{"ghs_", 12, tailAny, false}, {"ghr_", 12, tailAny, false}, {"github_pat_", 12, tailAny, false},
	{"glpat-", 10, tailAny, false}, {"gldt-", 10, tailAny, false}, {"glrt-", 10, tailAny, false},
	{"glptt-", 10, tailAny, false}, {"glsoat-", 10, tailAny, false}, {"glcbt-", 10, tailAny, false},
	{"glimt-", 10, tailAny, false}, {"glft-", 10, tailAny, false}, {"glagent-", 10, tailAny, false},
	{"gloas-", 10, tailAny, false}, {"glffct-", 10, tailAny, false}, {"GR1348941", 12, tailAny, true},
	{"ATATT3x", 16, tailAny, true}, {"ATCTT3x", 16, tailAny, true}, {"ATBB", 28, tailMixed, true},
	// Slack, Discord, Telegram, chat
	{"xoxb-", 8, tailAny, false}, {"xoxp-", 8, tailAny, false}, {"xoxa-", 8, tailAny, false},
	{"xoxr-", 8, tailAny, false}, {"xoxs-", 8, tailAny, false}, {"xoxe-", 8, tailAny, false},
	{"xoxe.", 8, tailAny, false}, {"xoxc-", 8, tailAny, false}, {"xoxd-", 8, tailAny, false},
	{"xoxo-", 8, tailAny, false}, {"xapp-", 8, tailAny, true}, {"xwfp-", 8, tailAny, true},
	// payments
	{"sk_live_", 8, tailAny, false}, {"sk_test_", 8, tailAny, false}, {"rk_live_", 8, tailAny, false},
	{"rk_test_", 8, tailAny, false}, {"whsec_", 12, tailAny, false}, {"sq0atp-", 12, tailAny, false},
	{"sq0csp-", 12, tailAny, false}, {"shpat_", 12, tailAny, false},
	{"shpss_", 12, tailAny, false}, {"shpca_", 12, tailAny, false}, {"shppa_", 12, tailAny, false},
	{"EAAA", 56, tailAny, true}, {"EAAC", 40, tailAny, true}, {"lin_api_", 12, tailAny, false},
	// package registries
	{"npm_", 20, tailAny, true}, {"pypi-", 16, tailAny, true}, {"rubygems_", 16, tailAny, false},
	{"dckr_pat_", 12, tailAny, false}, {"dckr_oat_", 12, tailAny, false}, {"cio", 32, tailMixed, true},
	{"oy2", 40, tailAny, true},
	// mail and messages
	{"SG.", 16, tailAny, true}, {"SK", 32, tailHex, true}, {"key-", 32, tailHex, true},
	{"xkeysib-", 16, tailAny, false}, {"xsmtpsib-", 16, tailAny, false},
	// models
	{"sk-ant-", 8, tailAny, false}, {"sk-proj-", 8, tailAny, false}, {"sk-svcacct-", 8, tailAny, false},
	{"sk-admin-", 8, tailAny, false}, {"sk-or-", 16, tailAny, true}, {"sk-", 20, tailAny, true},
	{"gsk_", 20, tailAny, true}, {"xai-", 24, tailAny, true}, {"pplx-", 20, tailAny, true},
	{"hf_", 20, tailAny, true}, {"r8_", 24, tailAny, true}, {"nvapi-", 20, tailAny, true},
	// clouds
	{"AIza", 16, tailAny, true}, {"AIzaSy", 16, tailAny, false}, {"ya29.", 8, tailAny, true}, {"GOCSPX-", 8, tailAny, false},
	{"IQoJb3JpZ2lu", 8, tailWide, false}, {"FwoGZXIvYXdz", 8, tailWide, false},
	{"FQoGZXIvYXdz", 8, tailWide, false}, {"AgoJb3JpZ2lu", 8, tailWide, false}, {"ABSK", 100, tailAny, true},
	{"dop_v1_", 12, tailAny, false}, {"doo_v1_", 12, tailAny, false}, {"dor_v1_", 12, tailAny, false},
	{"fo1_", 24, tailAny, true},
	{"FlyV1", 16, tailAny, true}, {"fm2_", 24, tailAny, true}, {"pscale_tkn_", 12, tailAny, false},
	{"pscale_pw_", 12, tailAny, false}, {"pscale_oauth_", 12, tailAny, false}, {"sbp_", 24, tailAny, true},
	{"sb_secret_", 12, tailAny, false}, {"HRKU-", 20, tailAny, true}, {"dapi", 32, tailHex, true},
	{"vercel_", 24, tailMixed, true}, {"rnd_", 24, tailAny, true}, {"nfp_", 24, tailAny, true},
	// secrets stores, infrastructure, monitoring
	{"hvs.", 12, tailAny, true}, {"hvb.", 12, tailAny, true}, {"hvr.", 12, tailAny, true}, {"s.", 24, tailMixed, true},
	{".atlasv1.", 16, tailWhole, false}, {"dp.pt.", 16, tailAny, true}, {"dp.st.", 16, tailAny, true},
	{"dp.ct.", 16, tailAny, true}, {"pul-", 40, tailHex, true}, {"tskey-", 12, tailAny, true},
	{"AGE-SECRET-KEY-1", 16, tailAny, false}, {"PMAK-", 20, tailAny, true}, {"NRAK-", 20, tailAny, true},
	{"NRII-", 20, tailAny, true}, {"NRRA-", 20, tailAny, true}, {"glsa_", 16, tailAny, true},
	{"glc_", 24, tailAny, true}, {"sntrys_", 16, tailAny, false}, {"sntryu_", 16, tailAny, false},
	{"phx_", 24, tailAny, true}, {"dt0c01.", 24, tailAny, true}, {"dt0s01.", 24, tailAny, true},
	{"CLOJARS_", 24, tailAny, true}, {"figd_", 16, tailAny, true}, {"ntn_", 24, tailAny, true},
	{"secret_", 40, tailMixed, true}, {"sonar_", 24, tailAny, true},
	{"squ_", 40, tailHex, true}, {"sqp_", 40, tailHex, true}, {"sqa_", 40, tailHex, true},
	{"AKCp", 60, tailAny, true}, {"cmVmd", 50, tailAny, true}, {"pnu_", 24, tailAny, true},
	{"K10", 60, tailHex, true}, {"SSWS-", 20, tailAny, true},
}

// byStart finds the prefixes that can begin at a place: pair has a bit for each
// two bytes that begin one, or that begin JSON in Base64, or that mark a client
// secret of Entra ID; first lists the prefixes by their first byte in lower case.
var byStart = func() (x struct {
	pair  [1 << 16 / 64]uint64
	first [256][]prefix
}) {
	add := func(a, b byte) {
		i := uint(a)<<8 | uint(b)
		x.pair[i/64] |= 1 << (i % 64)
	}
	for _, p := range prefixes {
		a, b := p.text[0], p.text[1]
		add(a, b)
		if p.folds() {
			add(lower(a), lower(b))
			add(lower(a), upper(b))
			add(upper(a), lower(b))
			add(upper(a), upper(b))
		}
		x.first[lower(a)] = append(x.first[lower(a)], p)
	}
	add('e', 'y')
	add('e', 'w')
	add('Q', '~')
	return x
}()

func upper(c byte) byte {
	if class[c]&isLower != 0 {
		return c &^ 0x20
	}
	return c
}

// sign is how a secret was recognised within a token.
type sign uint8

const (
	signNone sign = iota
	signPrefix
	// signWide is a prefix whose secret goes on over slashes.
	signWide
	// signJSON is Base64 of JSON: a JWT, a session cookie.
	signJSON
	// signWhole says that the whole token is one secret.
	signWhole
)

// findSign returns where in run a secret that can be recognised starts, and by
// what; signNone if there is none. Run is the longest stretch of token
// characters around it. Prefixes that end in a join match in any case.
func findSign(run []byte) (at int, by sign) {
	for i := 0; i+minPrefixed <= len(run); i++ {
		n := uint(run[i])<<8 | uint(run[i+1])
		if byStart.pair[n/64]>>(n%64)&1 == 0 {
			continue
		}
		if run[i] == 'e' && isJSON64(run[i:]) {
			return i, signJSON
		}
		if run[i] == 'Q' && run[i+1] == '~' && i > 2 && len(run) >= minRandom && class[run[i-1]]&isDigit != 0 {
			return 0, signWhole // the fourth to sixth of 40 characters are a digit, Q and ~
		}
		bounded := i == 0 || class[run[i-1]]&isAlnum == 0
		list := byStart.first[lower(run[i])]
		for j := range list {
			p := &list[j]
			if p.bounded && !bounded || len(run)-i < len(p.text)+p.min || !p.begins(run[i:]) {
				continue
			}
			switch p.tail {
			case tailWide:
				return i, signWide
			case tailWhole:
				return 0, signWhole
			}
			if p.tail.fits(run[i+len(p.text):], p.min) {
				return i, signPrefix
			}
		}
	}
	return 0, signNone
}

// minPrefixed is the length of the shortest secret that a prefix tells.
const minPrefixed = 12

// folds reports whether the prefix matches in any case: it ends in a join, and so
// is no part of a word.
func (p *prefix) folds() bool { return class[p.text[len(p.text)-1]]&isAlnum == 0 }

func (p *prefix) begins(b []byte) bool {
	fold := p.folds()
	for i := range len(p.text) {
		if b[i] != p.text[i] && !(fold && lower(b[i]) == lower(p.text[i])) {
			return false
		}
	}
	return true
}

func (t tail) fits(b []byte, least int) bool {
	switch t {
	case tailHex:
		for _, c := range b[:least] {
			if !isHex(c) {
				return false
			}
		}
	case tailMixed:
		var classes uint8
		for _, c := range b[:least] {
			if class[c]&isAlnum == 0 {
				return false
			}
			classes |= class[c]
		}
		return classes&isAlnum == isAlnum
	}
	return true
}

// isJSON64 reports whether b begins with Base64 of a JSON object, as every JWT
// and many session cookies do: an opening brace, white space or a quote, then
// readable text.
func isJSON64(b []byte) bool {
	for i := 0; i+4 <= len(b) && i < 16; i += 4 {
		var n uint32
		for _, c := range b[i : i+4] {
			v := base64Value[c]
			if v < 0 {
				return i >= 12
			}
			n = n<<6 | uint32(v)
		}
		for k := range 3 {
			c := byte(n >> (16 - 8*k))
			first := i == 0 && k < 2
			switch {
			case first && k == 0 && c != '{':
				return false
			case first && k == 1 && c != '"' && c != ' ' && c != '\n' && c != '\r' && c != '\t':
				return false
			case !first && (c < ' ' && c != '\n' && c != '\r' && c != '\t' || c == 0x7f):
				return false
			case !first && c >= 0x80 && i < 8:
				return false
			}
		}
	}
	return true
}

// base64Value is the value of a Base64 character of either alphabet, or -1.
var base64Value = func() (t [256]int8) {
	for i := range t {
		t[i] = -1
	}
	for i, c := range "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789" {
		t[c] = int8(i)
	}
	t['-'], t['_'], t['+'], t['/'] = 62, 63, 62, 63
	return t
}()
