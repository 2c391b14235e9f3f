// Package top shows who uses a node now: connections and rates by Service port, and by endpoint of one Service.
//
// Two documents of report.Traffic, taken some seconds apart, become rates in Compare; everything up to the screen is a function of
// values from there on. Run shows them live on a terminal, Once gives them as one document:
//
//	Source ─► report.Traffic ─┐
//	              (the last) ─┴─► Compare ─► Document ─► sorted, filtered ─► Model.View   (Run)
//	                                                                     └─► Document     (Once)
//
// What the documents say reaches the screen in printable ASCII only: see plain.
package top
