// Package page shows the documents of package report in a browser: GET /statusz is the node, GET /statusz/NAMESPACE/NAME one
// Service. Programs that ask for JSON get the document itself.
//
//	document (report) ──▶ what the page shows of it (overview, service) ──▶ html/*.html ──▶ visible ──▶ browser
//
// Pages are made on the server and need nothing else: no script, no font, no second request, so that one that is saved and
// attached to a ticket looks the same. Links are relative, so that they hold behind a proxy that puts a prefix in front.
//
// Names and messages may come from manifests that no API server has looked at. html/template escapes them by where they
// stand; control characters and those that turn text around are written as Go writes them.
package page
