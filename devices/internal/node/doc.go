// Package node is device nodes, the files below /dev that drivers serve: who may open one, and when
// one appears.
//
// What it promises:
//
//   - An error of [Rule.Denied] says what to do: which group to join, or which rule of udev to
//     write where only root may.
//   - [Watch] reports a node that appears or whose permissions change, or says at the start that it
//     can't.
//
// It opens nothing and knows no device. Linux only; elsewhere the package is empty.
package node
