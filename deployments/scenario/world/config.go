package world

import (
	"fmt"
	"hash/fnv"
	"time"
)

// Set says what a world is for. It is a part of every seed and chooses the
// names, so that no world of one set can be made in the other.
type Set string

// The sets of worlds.
const (
	// Dev are worlds to look at while working on a detection.
	Dev Set = "dev"
	// Held are worlds to measure with, and for nothing else.
	Held Set = "held"
)

// Topology is the shape of the call graph between services.
type Topology string

// The topologies.
const (
	// Layered services call those of the next of three layers.
	Layered Topology = "layered"
	// Hub services call and are called by one in the middle.
	Hub Topology = "hub"
	// Mesh services call any others, without cycles.
	Mesh Topology = "mesh"
	// Chain services call the next one.
	Chain Topology = "chain"
)

// Rhythm is when a company works.
type Rhythm string

// The rhythms.
const (
	// Office is busy on the working days.
	Office Rhythm = "office"
	// Flat is the same at every hour.
	Flat Rhythm = "flat"
	// Batch does most at night.
	Batch Rhythm = "batch"
	// Weekend is busiest when others rest.
	Weekend Rhythm = "weekend"
)

// Ablation is what the logs of a world leave out, while the same things happen
// in it.
type Ablation struct {
	// Traces leaves out trace ids and request ids.
	Traces bool
	// Grants leaves out what tokens present and what the catalogue says is held.
	Grants bool
	// Mints leaves out the answers that issue credentials.
	Mints bool
	// Missing is the share of calls that are not logged, 0 to 1.
	Missing float64
}

// Config says which world to make.
type Config struct {
	Set  Set
	Seed uint64
	// Services and Credentials are how many there are, about.
	Services, Credentials int
	// Days is how long it is watched, Calls how many calls are made, about.
	Days, Calls int
	Topology    Topology
	Rhythm      Rhythm
	// Traced is the share of services that pass the trace on, 0 to 1.
	Traced float64
	// Tenants are the customers; Staging adds a second environment.
	Tenants int
	Staging bool
	// NAT hides callers from outside behind shared addresses.
	NAT bool
	// Changes says that approved changes stand in the catalogue.
	Changes bool
	Ablation
}

// Name is a short name that tells worlds of all sets apart.
func (c *Config) Name() string { return fmt.Sprintf("%s-%d", c.Set, c.Seed) }

// Start is when the world begins: a Monday, another one for each seed.
func (c *Config) Start() time.Time {
	return time.Date(2026, time.March, 2, 0, 0, 0, 0, time.UTC).AddDate(0, 0, 7*int(c.Seed%17))
}

// End is when it is no longer watched.
func (c *Config) End() time.Time { return c.Start().AddDate(0, 0, c.Days) }

// check says what makes the configuration unusable.
func (c *Config) check() error {
	switch {
	case c.Set != Dev && c.Set != Held:
		return fmt.Errorf("no set of worlds is called %q: use dev or held", c.Set)
	case c.Services < 4 || c.Services > len(nouns[c.Set]):
		return fmt.Errorf("a world of %d services cannot be made: ask for 4 to %d", c.Services, len(nouns[c.Set]))
	case c.Credentials < 30:
		return fmt.Errorf("a world of %d credentials is too small for its story: ask for 30 or more", c.Credentials)
	case c.Days < 10 || c.Tenants < 2 || c.Calls < 1000:
		return fmt.Errorf("a world needs 10 days, 2 tenants and 1,000 calls; this has %d, %d and %d: raise them", c.Days, c.Tenants, c.Calls)
	}
	return nil
}

// seed mixes the set and a purpose into the seed.
func (c *Config) seed(purpose string) uint64 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s/%d/%s", c.Set, c.Seed, purpose)
	return h.Sum64()
}

// Worlds returns the configurations of a set. Dev worlds have odd numbers of
// services and 33 days, held ones even numbers and other lengths.
func Worlds(set Set) []Config {
	topologies := []Topology{Layered, Hub, Mesh, Chain}
	rhythms := []Rhythm{Office, Flat, Batch, Weekend}
	var list []Config
	if set == Dev {
		for i := range 8 {
			list = append(list, Config{
				Set: Dev, Seed: uint64(i + 1), Services: 7 + 2*(i%3), Credentials: 70 + 15*i, Days: 33, Calls: 60_000 + 10_000*i,
				Topology: topologies[i%4], Rhythm: rhythms[(i+i/4)%4], Traced: []float64{1, .6, .3, 0}[i%4],
				Tenants: 3 + i%4, Staging: i%2 == 0, NAT: i%3 == 0, Changes: true,
			})
		}
		return list
	}
	for i := range 20 {
		list = append(list, Config{
			Set: Held, Seed: uint64(101 + i), Services: 6 + 2*(i%6), Credentials: 100 + 16*i, Days: []int{31, 38, 75, 35}[(i/2)%4],
			Calls: 100_000 + 10_000*((i*7)%20), Topology: topologies[(i+i/4)%4], Rhythm: rhythms[(i*3+i/8)%4],
			Traced: []float64{.9, .5, .75, .2, 1}[i%5], Tenants: 4 + (i*5)%9, Staging: i%3 != 1, NAT: i%4 == 2, Changes: true,
		})
	}
	return list
}

// Tiny are two small worlds of the set Dev for tests.
func Tiny() []Config {
	return []Config{
		{Set: Dev, Seed: 901, Services: 5, Credentials: 34, Days: 15, Calls: 16_000, Topology: Layered, Rhythm: Office, Traced: 1, Tenants: 3, Staging: true, Changes: true},
		{Set: Dev, Seed: 902, Services: 6, Credentials: 40, Days: 16, Calls: 16_000, Topology: Mesh, Rhythm: Flat, Traced: .5, Tenants: 4, NAT: true, Changes: true},
	}
}

// nouns name the services, companies the firms, of each set.
var (
	nouns = map[Set][]string{
		Dev: {"orders", "customers", "invoices", "shipments", "products", "tickets", "reports", "messages", "devices", "contracts",
			"carts", "reviews", "refunds", "routes", "depots", "vouchers", "labels"},
		Held: {"claims", "policies", "patients", "bookings", "flights", "ledgers", "wallets", "meters", "tariffs", "courses",
			"grades", "recipes", "sensors", "leases", "permits", "auctions", "bids", "parcels", "quotes", "audits"},
	}
	companies = map[Set][]string{
		Dev:  {"harrow", "oakline", "pellworth", "northgate"},
		Held: {"brightwater", "caldera", "dunmere", "eastfold", "fernhall", "greyford", "hollins"},
	}
)
