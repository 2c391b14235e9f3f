package gauge

import (
	"net/http"
	"strconv"
	"strings"
)

// request is what a request asks for. What is no resource has its path as resource.
type request struct {
	verb     string // as in audit logs, in capital letters
	group    string // "" of the core
	resource string // with its subresource: "services/status"
	name     string // "" of lists and watches
}

func (r request) String() string { return r.verb + " " + r.resource }

// selects reports whether the gauge's selector applies.
func (r request) selects() bool {
	switch r.verb {
	case "LIST", "WATCH":
		return r.group == "" && r.resource == "services" || r.group == "discovery.k8s.io" && r.resource == "endpointslices"
	default:
		return false
	}
}

// readRequest reads /api/VERSION/… and /apis/GROUP/VERSION/…, behind which is [namespaces/NAMESPACE/]RESOURCE[/NAME[/SUBRESOURCE]].
func readRequest(r *http.Request) request {
	req := request{verb: r.Method, resource: r.URL.Path}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	switch {
	case parts[0] == "api" && len(parts) > 2:
		parts = parts[2:]
	case parts[0] == "apis" && len(parts) > 3:
		req.group, parts = parts[1], parts[3:]
	default:
		return req
	}
	if parts[0] == "namespaces" && len(parts) > 2 && parts[2] != "status" && parts[2] != "finalize" {
		parts = parts[2:]
	}
	req.resource = parts[0]
	if len(parts) > 1 {
		req.name = parts[1]
	}
	if len(parts) > 2 {
		req.resource += "/" + strings.Join(parts[2:], "/")
	}
	req.verb = verb(r, req.name)
	return req
}

func verb(r *http.Request, name string) string {
	switch r.Method {
	case http.MethodGet:
		// An informer for a single object watches with a field selector, not with a name.
		switch watch, _ := strconv.ParseBool(r.URL.Query().Get("watch")); {
		case watch:
			return "WATCH"
		case name == "":
			return "LIST"
		}
	case http.MethodPost:
		return "CREATE"
	case http.MethodPut:
		return "UPDATE"
	}
	return r.Method
}
