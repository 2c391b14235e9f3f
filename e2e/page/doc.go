// Package page opens the pages of package report/page in headless Chromium, with documents that are made up: what they look
// like and do in a browser is promised here, what is on them in their own package. Pictures of them are left in out/page.
//
// It is a module of its own, so that the agent's does not depend on a browser's protocol.
package page
