package frame

import (
	"bytes"

	"github.com/postbus/postbus/bus/topic"
)

// SUBSCRIBE and UNSUBSCRIBE: MQTT 5 sections 3.8 and 3.10. The positions of a filter's wildcards
// are not framing: the broker answers them filter by filter, see topic.CheckSubscription.

func (r *reader) subscribe() *Error {
	if _, err := r.packetID(); err != nil {
		return err
	}
	if r.version >= V5 {
		var ps properties
		if err := r.properties(inSubscribe, false, &ps); err != nil {
			return err
		}
	}
	if r.left() == 0 {
		return violation(r.statement("MQTT-3.8.3-2", "MQTT-3.8.3-3"), "SUBSCRIBE without a topic filter")
	}
	for r.left() > 0 {
		filter, err := r.filter()
		if err != nil {
			return err
		}
		options, err := r.u8()
		if err != nil {
			return err
		}
		if err := r.subscribeOptions(options, bytes.HasPrefix(filter, []byte(topic.SharePrefix))); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) subscribeOptions(o byte, shared bool) *Error {
	if r.version < V5 {
		if o > 2 {
			return malformed("MQTT-3.8.3-4", "requested QoS is not 0, 1 or 2, or reserved bits are set")
		}
		return nil
	}
	switch {
	case o&0xC0 != 0:
		return malformed("MQTT-3.8.3-5", "reserved bits of the subscription options are set")
	case o&0x03 == 0x03:
		return violation("3.8.3.1", "maximum QoS of a subscription is 3")
	case o&0x30 == 0x30:
		return violation("3.8.3.1", "Retain Handling of a subscription is 3")
	case o&0x04 != 0 && shared:
		return violation("MQTT-3.8.3-4", "No Local on a shared subscription")
	}
	return nil
}

func (r *reader) unsubscribe() *Error {
	if _, err := r.packetID(); err != nil {
		return err
	}
	if r.version >= V5 {
		var ps properties
		if err := r.properties(inUnsubscribe, false, &ps); err != nil {
			return err
		}
	}
	if r.left() == 0 {
		return violation("MQTT-3.10.3-2", "UNSUBSCRIBE without a topic filter")
	}
	for r.left() > 0 {
		if _, err := r.filter(); err != nil {
			return err
		}
	}
	return nil
}

func (r *reader) filter() ([]byte, *Error) {
	f, err := r.text()
	if err == nil && len(f) == 0 {
		err = malformed("MQTT-4.7.3-1", "topic filter is empty")
	}
	return f, err
}
