// This file has the keys of buses, and the permissions that each needs on the hub.

package stream

import (
	"bytes"
	"slices"

	"github.com/nats-io/nkeys"
)

// NewKey makes the key of a bus: the seed is the bus's secret, the public key goes into the hub's
// configuration.
func NewKey() (seed []byte, public string, err error) {
	pair, err := nkeys.CreateUser()
	if err != nil {
		return nil, "", err
	}
	defer pair.Wipe()
	if seed, err = pair.Seed(); err != nil {
		return nil, "", err
	}
	public, err = pair.PublicKey()
	return bytes.Clone(seed), public, err
}

// InboxOf is the prefix of the subjects on which a bus gets its answers. It is its own, so that no
// bus can listen to the answers of others. Both names must be tokens of subjects.
func InboxOf(fleet, bus string) string { return "_INBOX." + fleet + "." + bus }

// Grant is the permissions of a user of the hub, as nats-server's configuration has them.
type Grant struct {
	Publish, Subscribe []string // filters that are allowed; all others are not
}

// GrantOf is the least that a bus needs: to publish on its own subjects, to read the stream, to get
// answers below inbox and to listen. To answer an Ask it needs to publish below the others' inboxes,
// too. More would let it forge the messages of others, see genuine.go: never add CONSUMER.MSG.NEXT,
// DIRECT.GET, $JS.ACK or allow_responses.
func GrantOf(stream, inbox string, publish, listen []string) Grant {
	return Grant{
		Publish: slices.Concat(publish, []string{
			"$JS.API.STREAM.INFO." + stream,
			"$JS.API.STREAM.MSG.GET." + stream,
			"$JS.API.CONSUMER.CREATE." + stream + ".*",
		}),
		Subscribe: slices.Concat(listen, []string{inbox + ".>"}),
	}
}
