// This file is a connection: it sends commands and receives answers and events.

package pulse

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	patience     = 3 * time.Second // for an answer
	frameTimeout = 2 * time.Second // for the remainder of a frame that has begun
	maxVersion   = 32              // the version that is requested
	minVersion   = 13              // from this version on everything has properties
)

// The commands that are used.
const (
	opError           = 0
	opReply           = 2
	opAuth            = 8
	opSetClientName   = 9
	opServerInfo      = 20
	opSinkInfo        = 21
	opSourceInfo      = 23
	opRecordings      = 32
	opSubscribe       = 35
	opSetSinkVolume   = 36
	opSetSourceVolume = 38
	opSetSinkMute     = 39
	opSetSourceMute   = 40
	opEvent           = 66
)

// Client is a connection to a sound server. Several goroutines may call its methods.
type Client struct {
	conn    *net.UnixConn
	version uint32
	hear    func(Kind)
	ended   chan struct{} // the reader has ended
	forget  func() bool   // of the context's AfterFunc

	out sync.Mutex // held while a command is written

	mu      sync.Mutex
	tag     uint32
	waiting map[uint32]chan answer
	err     error // why it ended
}

var errGone = errors.New("the server is gone")

type answer struct {
	r   *reading
	err error
}

// Dial connects to the unix socket at path, as the program name. The reader calls hear for each
// subscribed event: hear must not block. The connection ends with ctx, or by Close, which must be
// called.
func Dial(ctx context.Context, path, name string, cookie []byte, hear func(Kind)) (*Client, error) {
	inner, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(inner, "unix", path)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn.(*net.UnixConn), hear: hear, ended: make(chan struct{}), waiting: map[uint32]chan answer{}}
	go c.read()
	c.forget = context.AfterFunc(ctx, func() { c.end(ctx.Err()) })
	if err := c.greet(inner, name, cookie); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// greet negotiates a version and identifies this program.
func (c *Client) greet(ctx context.Context, name string, cookie []byte) error {
	full := [256]byte{}
	copy(full[:], cookie)
	r, err := c.call(ctx, opAuth, func(w *writing) { w.u32(maxVersion).bytes(full[:]) })
	if err != nil {
		return err
	}
	version := r.u32() & 0xffff // the bits above are flags of shared memory
	if err := c.understood(r); err != nil {
		return err
	}
	if c.version = min(version, maxVersion); c.version < minVersion {
		return c.end(fmt.Errorf("the server speaks version %d of the protocol; %d is the minimum", version, minVersion))
	}
	r, err = c.call(ctx, opSetClientName, func(w *writing) { w.property("application.name", name) })
	if err != nil {
		return err
	}
	r.u32() // our client index
	return c.understood(r)
}

// understood ends the connection when an answer could not be decoded.
func (c *Client) understood(r *reading) error {
	if r.err != nil {
		return c.end(fmt.Errorf("an answer that can't be decoded: %w", r.err))
	}
	return nil
}

// Version is the protocol version of the connection.
func (c *Client) Version() uint32 { return c.version }

// Ended is closed when the connection has ended.
func (c *Client) Ended() <-chan struct{} { return c.ended }

// Err returns why the connection ended.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close closes the connection and waits until its reader has ended.
func (c *Client) Close() error {
	c.forget()
	c.end(net.ErrClosed)
	<-c.ended
	return nil
}

// end ends the connection and returns the reason, which may be an earlier one.
func (c *Client) end(err error) error {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
		_ = c.conn.Close()
	}
	err = c.err
	for tag, w := range c.waiting {
		delete(c.waiting, tag)
		w <- answer{err: err}
	}
	c.mu.Unlock()
	return err
}

// read processes frames until the connection ends.
func (c *Client) read() {
	defer close(c.ended)
	for r := bufio.NewReader(c.conn); ; {
		body, err := readFrame(r, c.conn)
		if err == nil {
			err = c.take(&reading{b: body})
		}
		switch {
		case err == nil:
			continue
		case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
			err = errGone
		case errors.Is(err, os.ErrDeadlineExceeded):
			err = fmt.Errorf("the server stopped in the middle of a frame: the remainder was not received within %s", frameTimeout)
		case !errors.As(err, new(*net.OpError)):
			err = fmt.Errorf("the server sent data that can't be decoded: %w", err)
		}
		c.end(err)
		return
	}
}

// take processes one frame.
func (c *Client) take(r *reading) error {
	op, tag := r.u32(), r.u32()
	if r.err != nil {
		return r.err
	}
	switch op {
	case opReply, opError:
		a := answer{r: r}
		if op == opError {
			a = answer{err: refusal(r.u32())}
			if r.err != nil {
				return r.err
			}
		}
		c.mu.Lock()
		if w := c.waiting[tag]; w != nil {
			delete(c.waiting, tag)
			w <- a
		}
		c.mu.Unlock()
	case opEvent:
		kind := r.u32()
		r.u32() // whose index it is
		if r.err != nil {
			return r.err
		}
		if kind &= 0xf; c.hear != nil {
			c.hear(1 << kind)
		}
	}
	return nil // other events are not needed
}

// call sends a command and waits for the answer.
func (c *Client) call(ctx context.Context, op uint32, put func(w *writing)) (*reading, error) {
	w := make(chan answer, 1)
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, c.err
	}
	c.tag++
	tag := c.tag
	c.waiting[tag] = w
	c.mu.Unlock()
	order := command(op, tag)
	put(order)
	c.out.Lock()
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	var err error
	if op == opAuth {
		_, _, err = c.conn.WriteMsgUnix(order.frame(), me(), nil)
	} else {
		_, err = c.conn.Write(order.frame())
	}
	c.out.Unlock()
	if errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET) {
		err = errGone
	}
	if err != nil {
		return nil, c.end(err)
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case a := <-w:
		return a.r, a.err
	case <-ctx.Done():
	case <-late.C:
	}
	c.mu.Lock()
	delete(c.waiting, tag)
	c.mu.Unlock()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		return nil, err
	}
	return nil, c.end(fmt.Errorf("the server doesn't answer within %s", patience))
}

// me returns our credentials, to send with the first command. The kernel adds them by itself only
// once the server has asked for them, which may be a moment too late.
func me() []byte {
	return syscall.UnixCredentials(&syscall.Ucred{Pid: int32(os.Getpid()), Uid: uint32(os.Getuid()), Gid: uint32(os.Getgid())})
}

// do sends a command with an empty answer.
func (c *Client) do(ctx context.Context, op uint32, put func(w *writing)) error {
	_, err := c.call(ctx, op, put)
	return err
}

// Subscribe subscribes to events of these kinds.
func (c *Client) Subscribe(ctx context.Context, kinds Kind) error {
	return c.do(ctx, opSubscribe, func(w *writing) { w.u32(uint32(kinds)) })
}

// Server queries the server's information about itself.
func (c *Client) Server(ctx context.Context) (s Server, err error) {
	r, err := c.call(ctx, opServerInfo, func(*writing) {})
	if err != nil {
		return s, err
	}
	s = r.server()
	return s, c.understood(r)
}

// Sink queries a sink; ErrAbsent when no sink has that name.
func (c *Client) Sink(ctx context.Context, name string) (Device, error) {
	return c.device(ctx, opSinkInfo, none, name)
}

// Source queries a source; ErrAbsent when no source has that name.
func (c *Client) Source(ctx context.Context, name string) (Device, error) {
	return c.device(ctx, opSourceInfo, none, name)
}

// SourceAt queries a source by its index.
func (c *Client) SourceAt(ctx context.Context, index uint32) (Device, error) {
	return c.device(ctx, opSourceInfo, index, "")
}

func (c *Client) device(ctx context.Context, op, index uint32, name string) (d Device, err error) {
	if index == none && name == "" {
		return d, ErrAbsent
	}
	r, err := c.call(ctx, op, func(w *writing) { w.u32(index).text(name) })
	if err != nil {
		return d, err
	}
	d = r.device(op == opSourceInfo)
	return d, c.understood(r)
}

// Recordings lists the streams that record.
func (c *Client) Recordings(ctx context.Context) ([]Recording, error) {
	r, err := c.call(ctx, opRecordings, func(*writing) {})
	if err != nil {
		return nil, err
	}
	list := r.recordings(c.version)
	return list, c.understood(r)
}

// SetSinkVolume sets the volume of each channel; 65536 is 100 %.
func (c *Client) SetSinkVolume(ctx context.Context, name string, volumes []uint32) error {
	return c.do(ctx, opSetSinkVolume, func(w *writing) { w.u32(none).text(name).volumes(volumes) })
}

// SetSourceVolume sets the volume of each channel of a source; 65536 is 100 %.
func (c *Client) SetSourceVolume(ctx context.Context, name string, volumes []uint32) error {
	return c.do(ctx, opSetSourceVolume, func(w *writing) { w.u32(none).text(name).volumes(volumes) })
}

// SetSinkMute mutes or unmutes a sink.
func (c *Client) SetSinkMute(ctx context.Context, name string, on bool) error {
	return c.do(ctx, opSetSinkMute, func(w *writing) { w.u32(none).text(name).bool(on) })
}

// SetSourceMute mutes or unmutes a source.
func (c *Client) SetSourceMute(ctx context.Context, name string, on bool) error {
	return c.do(ctx, opSetSourceMute, func(w *writing) { w.u32(none).text(name).bool(on) })
}
