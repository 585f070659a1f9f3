// Package node is device nodes, the files below /dev that drivers open: who may open one, and when there is another one.
//
// What it promises:
//
//   - An error of [Rule.Denied] says what to do: which group to join, or which rule of udev to write where only root may.
//   - [Watch] tells of a node that comes or whose rights change, or it says at the start that it can't.
//
// It opens nothing and knows no device. Linux only; elsewhere the package is empty.
package node
