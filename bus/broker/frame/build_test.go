package frame

// Short functions for building packets: pkt(0x30, str("a/b"), props(prop(1, 1)), "payload").

func cat(parts ...any) []byte {
	var b []byte
	for _, p := range parts {
		switch p := p.(type) {
		case int:
			b = append(b, byte(p))
		case byte:
			b = append(b, p)
		case string:
			b = append(b, p...)
		case []byte:
			b = append(b, p...)
		default:
			panic("cat: unknown part")
		}
	}
	return b
}

// pkt is a packet with the right remaining length.
func pkt(first byte, parts ...any) []byte {
	body := cat(parts...)
	return append(appendVarint([]byte{first}, len(body)), body...)
}

func str(s string) []byte { return cat(len(s)>>8, len(s), s) }
func u16(v int) []byte    { return cat(v>>8, v) }
func u32(v uint32) []byte { return cat(byte(v>>24), byte(v>>16), byte(v>>8), byte(v)) }

// props is a property area with its length.
func props(parts ...any) []byte {
	body := cat(parts...)
	return append(appendVarint(nil, len(body)), body...)
}

func user(k, v string) []byte { return cat(0x26, str(k), str(v)) }

// connect is a CONNECT with that name, level, flags, and the rest after keep alive.
func connect(name string, level, flags int, rest ...any) []byte {
	return pkt(0x10, str(name), level, flags, u16(60), cat(rest...))
}

func connect5(flags int, rest ...any) []byte { return connect("MQTT", 5, flags, rest...) }
func connect4(flags int, rest ...any) []byte { return connect("MQTT", 4, flags, rest...) }
func connect3(flags int, rest ...any) []byte { return connect("MQIsdp", 3, flags, rest...) }

// judge passes p to the function for its type, and fails if two entry points disagree.
func judge(t interface {
	Helper()
	Errorf(string, ...any)
}, version byte, p []byte) *Error {
	t.Helper()
	before := string(p)
	err := Check(p, version)
	if string(p) != before {
		t.Errorf("Check changed the packet")
	}
	var other *Error
	switch {
	case len(p) == 0:
		return err
	case p[0]>>4 == TypePublish:
		var pub Publish
		other = ParsePublish([]byte(before), version, &pub)
	case p[0]>>4 >= TypePuback && p[0]>>4 <= TypePubcomp:
		_, other = ParseAck([]byte(before), version)
	default:
		return err
	}
	if (err == nil) != (other == nil) || err != nil && *err != *other {
		t.Errorf("Check says %v, Parse says %v", err, other)
	}
	return err
}

// judgeConnect is judge for the first packet of a connection.
func judgeConnect(t interface {
	Helper()
	Errorf(string, ...any)
}, p []byte) (byte, *Error) {
	t.Helper()
	before := string(p)
	version, err := CheckConnect(p)
	c, other := ParseConnect(p)
	if string(p) != before {
		t.Errorf("the packet was changed")
	}
	if c.Version != version {
		t.Errorf("CheckConnect says version %d, ParseConnect %d", version, c.Version)
	}
	if (err == nil) != (other == nil) || err != nil && *err != *other {
		t.Errorf("CheckConnect says %v, ParseConnect %v", err, other)
	}
	return version, err
}
