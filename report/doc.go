// Package report has the documents in which the agent tells people and scripts what it does: what is served, why, and what is
// not. Each is a value with JSON tags (fields are added, never renamed) and prints itself as a table.
//
// The running agent makes them from its state, commands without an agent from manifests or from the kernel alone. Nothing
// here decides anything.
package report
