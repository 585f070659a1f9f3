package broker

// This file is CONNECT: the checks before mochi sees it, the decision about the client, and the
// content of CONNACK.

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/postbus/postbus/bus"
	"github.com/postbus/postbus/bus/broker/frame"
)

// open processes the CONNECT. It applies the guard's checks, mochi's and its own; then it attaches
// the session, queues CONNACK and starts delivery.
func (c *conn) open(p []byte, body int) error {
	version, ferr := frame.CheckConnect(p)
	if ferr == nil {
		c.connect, ferr = frame.ParseConnect(p)
	}
	if ferr == nil {
		switch {
		case c.connect.HasAuthMethod:
			ferr = &frame.Error{Code: 0x8C, Reason: "this authentication method is not supported", Statement: "MQTT-4.12.0-1"}
		case c.connect.ClientID == "" && (version == frame.V31 || !c.connect.CleanStart && version == frame.V311):
			ferr = &frame.Error{Code: frame.CodeClientIDInvalid, Reason: "an empty client identifier needs MQTT 3.1.1 and a clean session, or MQTT 5", Statement: "MQTT-3.1.3-8"}
		}
	}
	if ferr != nil {
		c.mu.Lock()
		c.out = frame.AppendRefusal(c.out, version, ferr.Code, ferr.Reason)
		c.mu.Unlock()
		return ferr
	}
	pk := packets.Packet{FixedHeader: packets.FixedHeader{Type: packets.Connect, Remaining: len(p) - body}, ProtocolVersion: version}
	b := append([]byte(nil), p[body:]...)
	b[2+int(binary.BigEndian.Uint16(b))] = version // without the bit that marks a bridge
	if err := pk.ConnectDecode(b); err != nil {
		return &frame.Error{Code: frame.CodeMalformed, Reason: err.Error()}
	}
	// The bus keeps last wills, and mochi refuses what MQTT allows: a will without payload, an
	// empty password.
	pk.Connect.WillFlag, pk.Connect.WillRetain, pk.Connect.WillQos = false, false, 0
	pk.Connect.WillPayload, pk.Connect.WillTopic = nil, ""
	pk.Connect.PasswordFlag = len(pk.Connect.Password) > 0
	c.version = version
	c.client = c.broker.server.NewClient(c, c.listener, "", false)
	c.client.ParseConnect(c.listener, pk)
	if c.excess != "" {
		return c.turnAway(frame.CodeQuotaExceeded, errors.New(c.excess))
	}
	if code := pk.ConnectValidate(); code != packets.CodeSuccess {
		return c.turnAway(code.Code, errors.New(code.Reason))
	}
	if code, err := c.broker.admit(c, string(pk.Connect.Password)); err != nil {
		return c.turnAway(code, err)
	}
	c.place.Release()
	c.since = time.Now()
	c.transient = c.connect.ClientID == "" || c.asks(askTransient)
	c.broker.presence.online(c.id, c.presence())
	c.reported.Store(true)
	if err := c.broker.server.SendConnack(c.client, packets.CodeSuccess, c.present, c.connack()); err != nil {
		return err
	}
	c.broker.log.Debug("client connected", "client", c.id, "user", c.user, "remote", c.remote, "listener", c.listener, "version", version, "present", c.present)
	o := c.broker.o.Load()
	o.Audit.Login(c.id, "user", c.user, "remote", c.remote, "listener", c.listener)
	limit := o.Inflight
	if version == frame.V5 {
		limit = min(limit, int(c.connect.ReceiveMaximum))
	}
	c.session.Start(c, limit)
	c.watchLogin()
	return nil
}

// turnAway refuses a CONNECT that is well formed and not accepted.
func (c *conn) turnAway(code byte, why error) error {
	c.broker.count.refused.Add(1)
	about := []any{"client", c.id, "user", c.user, "remote", c.remote, "listener", c.listener, "err", why}
	c.broker.quiet.Warn(c.broker.log, c.address, "client refused", about...)
	c.broker.o.Load().Audit.Refused(c.address, "login refused", about...)
	c.mu.Lock()
	before := len(c.out)
	c.out = frame.AppendRefusal(c.out, c.version, code, why.Error())
	if m := int(c.connect.MaximumPacketSize); m > 0 && len(c.out)-before > m { // [MQTT-3.2.2-19]
		c.out = frame.AppendRefusal(c.out[:before], c.version, code, "")
	}
	c.mu.Unlock()
	return errRefused
}

var errRefused = errors.New("client refused")

// admit decides about the client, ends its previous connection and opens its session. The code is
// for CONNACK.
func (b *Broker) admit(c *conn, password string) (byte, error) {
	o := b.o.Load()
	c.id, c.idBytes = c.client.ID, []byte(c.client.ID)
	if c.connect.Username != nil {
		c.user = *c.connect.Username
	}
	if bus.ReservedName(c.id) {
		return frame.CodeClientIDInvalid, errors.New("client identifiers that begin with @, $share/, plugin: or http:, and bus, are reserved")
	}
	if err := b.banned(c); err != nil { // before the password, whose check is expensive
		return frame.CodeBanned, err
	}
	identity, err := b.identify(c, password)
	switch {
	case errors.Is(err, ErrBusy):
		return frame.CodeServerUnavailable, err
	case err != nil:
		return frame.CodeBadUserOrPassword, err
	}
	if ids, ok := identity.(ClientIDs); ok && c.connect.ClientID != "" { // another is of the broker's making
		if err := ids.MayConnectAs(c.id); err != nil {
			return frame.CodeClientIDInvalid, err
		}
	}
	c.bridge.Store(c.connect.Bridge)
	so := bus.SessionOptions{Name: c.id, User: c.user, Clean: c.connect.CleanStart}
	if w := c.connect.Will; w != nil {
		topic := string(w.Topic)
		if !c.mayPublish(identity, topic, w.Payload) {
			return frame.CodeNotAuthorized, fmt.Errorf("the user may not publish the last will to %s", topic)
		}
		props, _, _ := c.takeRoute(w.Props) // the route of a will begins here
		so.Will = &bus.Will{Topic: topic, Payload: w.Payload, QoS: w.QoS, Retain: w.Retain, Delay: w.DelayInterval, Properties: props}
		if l, ok := identity.(StoredLogin); ok {
			so.Will.Login = l.StoredLogin()
		}
		if w.HasExpiry {
			so.Will.Expiry = max(1, w.Expiry)
		}
	}
	switch {
	case c.version == frame.V5:
		c.expiry = b.sessionExpiry(c.connect.SessionExpiry)
	case !c.connect.CleanStart:
		c.expiry = b.sessionExpiry(bus.NeverExpires)
	}
	so.Expiry = c.expiry
	c.keepAlive = time.Duration(c.connect.KeepAlive) * time.Second
	if o.KeepAlive > 0 && (c.keepAlive == 0 || c.keepAlive > o.KeepAlive) {
		c.keepAlive = o.KeepAlive
	}
	b.joinUser(c)
	if err := b.own(c); errors.Is(err, bus.ErrForeignSession) {
		return frame.CodeNotAuthorized, err
	} else if err != nil {
		return frame.CodeServerUnavailable, err
	}
	if err := b.banned(c); err != nil { // the login may have named another user, and Ban may have missed the client before
		return frame.CodeBanned, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
	defer cancel()
	c.session, c.present, err = b.bus.Attach(ctx, so)
	var limit *bus.LimitError
	switch {
	case errors.Is(err, bus.ErrForeignSession):
		return frame.CodeNotAuthorized, err
	case errors.As(err, &limit):
		return frame.CodeQuotaExceeded, err
	case err != nil:
		return frame.CodeServerUnavailable, fmt.Errorf("the session cannot be made durable: %w", err)
	}
	return frame.CodeSuccess, nil
}

// identify authenticates the client. A reload meanwhile may have withdrawn the rights that it was
// given. Then identify authenticates it again, so that no client keeps rights of the old config.
func (b *Broker) identify(c *conn, password string) (Identity, error) {
	asked := c.user
	for {
		before := b.judged.Load()
		identity, err := b.o.Load().Authenticate(Credentials{User: asked, Password: password, HasPassword: c.connect.HasPassword,
			Local: c.local, Address: c.remote, ClientID: c.id, Certificate: certificate(c.raw)})
		if err != nil {
			return nil, err
		}
		if l, ok := identity.(Login); ok {
			if user, _ := l.Login(); user != c.user { // else no write: others may read it
				c.user = user
			}
		}
		if asked != "" && c.user == "" {
			b.userNameReported.Do(func() {
				b.log.Warn("client presented a user name, but no users are configured: it has the rights of anonymous; reported once",
					"client", c.id, "user", asked, "remote", c.remote)
			})
		}
		c.identity.Store(&identity)
		if b.judged.Load() == before {
			return identity, nil
		}
	}
}

// certificate returns the verified certificate of a client on TLS, also below a WebSocket; nil: none.
func certificate(raw net.Conn) *x509.Certificate {
	for {
		switch c := raw.(type) {
		case interface{ ConnectionState() tls.ConnectionState }:
			if chains := c.ConnectionState().VerifiedChains; len(chains) > 0 {
				return chains[0][0]
			}
			return nil
		case interface{ NetConn() net.Conn }:
			raw = c.NetConn()
		default:
			return nil
		}
	}
}

// connack returns the limits of this broker [MQTT-3.2.2-9 ff]. A client that sends the user
// property meta also gets the journal's last sequence: it missed no event with a higher one.
func (c *conn) connack() *packets.Properties {
	p := &packets.Properties{
		ReceiveMaximum:    receiveMaximum,
		TopicAliasMaximum: topicAliasMaximum,
		MaximumPacketSize: uint32(c.broker.o.Load().PacketSize),
		AssignedClientID:  c.client.Properties.Props.AssignedClientID,
	}
	if c.expiry != c.connect.SessionExpiry {
		p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = c.expiry, true // [MQTT-3.2.2-18]
	}
	if asked := time.Duration(c.connect.KeepAlive) * time.Second; c.keepAlive != asked {
		p.ServerKeepAlive, p.ServerKeepAliveFlag = uint16(c.keepAlive/time.Second), true // [MQTT-3.1.2-21]
	}
	if fits := c.connect.MaximumPacketSize == 0 || c.connect.MaximumPacketSize >= 256; !fits { // [MQTT-3.2.2-20]
		return p
	}
	if c.asks(userMeta) {
		p.User = append(p.User, packets.UserProperty{Key: "seq", Val: strconv.FormatUint(c.broker.bus.Last(), 10)}, packets.UserProperty{Key: "epoch", Val: c.broker.origin})
	}
	if c.asks(askBridge) {
		p.User = append(p.User, packets.UserProperty{Key: askBridge, Val: strconv.FormatBool(c.trusted())})
	}
	return p
}

// asks reports whether the client's CONNECT has a user property.
func (c *conn) asks(key string) bool {
	return slices.ContainsFunc(c.client.Properties.Props.User, func(u packets.UserProperty) bool { return u.Key == key })
}
