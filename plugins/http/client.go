package http

// This file is what the source and the action share: the client and errors that contain no secret.

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/postbus/postbus/plugins/internal/lines"
)

// client returns an HTTP client with its own connections, so that they end with their owner.
func client(insecure bool) *http.Client {
	return &http.Client{Transport: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		TLSClientConfig:        &tls.Config{InsecureSkipVerify: insecure}, // the user asked for it in the file, and the docs explain the risk
		ForceAttemptHTTP2:      true,
		TLSHandshakeTimeout:    10 * time.Second,
		IdleConnTimeout:        90 * time.Second,
		MaxIdleConns:           4,
		MaxIdleConnsPerHost:    2,
		MaxConnsPerHost:        16,
		MaxResponseHeaderBytes: 256 << 10,
	}}
}

// setHeaders sets the file's headers, and a User-Agent if the file has none.
func setHeaders(r *http.Request, headers map[string]string) {
	r.Header.Set("User-Agent", "postbus")
	for name, value := range headers {
		if strings.EqualFold(name, "Host") {
			r.Host = value
		} else {
			r.Header.Set(name, value)
		}
	}
}

// redactURL returns the part of a URL that is safe to show. Path, query and user may be secrets.
func redactURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return "the URL"
	}
	return u.Scheme + "://" + u.Host
}

// failure says what failed and where. It leaves out the URL in net/http's error.
func failure(method, address string, err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
		if u.Timeout() {
			err = fmt.Errorf("no response in time: %w", err)
		}
	}
	return fmt.Errorf("%s %s: %w", method, redactURL(address), err)
}

// headersOf are the headers of a response as a field of an event.
func headersOf(res *http.Response) map[string]any {
	headers := map[string]any{}
	for name, values := range res.Header {
		if name != "Set-Cookie" && len(values) > 0 {
			headers[strings.ToLower(name)] = lines.Text([]byte(values[0]))
		}
	}
	return headers
}
