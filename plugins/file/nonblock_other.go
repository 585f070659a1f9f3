//go:build !unix

package file

const nonblock = 0 // there are no pipes among the files
