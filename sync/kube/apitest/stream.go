package apitest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"
)

func streamSuffix(media string) string {
	if media == runtime.ContentTypeProtobuf {
		return ";stream=watch"
	}
	return ""
}

// stream is a watch.
type stream struct {
	*Server
	embedded runtime.Encoder
	out      streaming.Encoder
	response http.ResponseWriter
	gone     <-chan struct{}
}

func (s *Server) newStream(w http.ResponseWriter, r *http.Request) (*stream, error) {
	info := s.media(r)
	w.Header().Set("Content-Type", info.MediaType+streamSuffix(info.MediaType))
	w.WriteHeader(http.StatusOK)
	framed := info.StreamSerializer.NewFrameWriter(w)
	out := streaming.NewEncoder(framed, s.codecs.EncoderForVersion(info.StreamSerializer.Serializer, schema.GroupVersion{Version: "v1"}))
	return &stream{s, s.encoder(info), out, w, r.Context().Done()}, http.NewResponseController(w).Flush()
}

func (s *stream) send(kind watch.EventType, o runtime.Object) error {
	raw, err := runtime.Encode(s.embedded, o)
	if err != nil {
		return err
	}
	if err := s.out.Encode(&metav1.WatchEvent{Type: string(kind), Object: runtime.RawExtension{Raw: raw}}); err != nil {
		return err
	}
	return http.NewResponseController(s.response).Flush()
}

func (s *stream) fail(status metav1.Status) error { return s.send(watch.Error, &status) }

// run sends what there is and what happens from then on.
func (s *stream) run(q query, version uint64) error {
	s.mu.Lock()
	life, now := s.life, s.version
	var first []Object
	if q.stream || q.version == "" || q.version == "0" {
		first, version = s.selected(q), now
	}
	expired := version < s.compacted
	s.mu.Unlock()
	if expired {
		return s.fail(metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired,
			Message: fmt.Sprintf("too old resource version: %d", version),
		})
	}
	for _, o := range first {
		if err := s.send(watch.Added, o); err != nil {
			return err
		}
	}
	if q.stream {
		if err := s.bookmark(q, version, map[string]string{metav1.InitialEventsAnnotationKey: "true"}); err != nil {
			return err
		}
	}
	return s.follow(q, version, life)
}

func (s *stream) follow(q query, version uint64, life int) error {
	timeout := time.NewTimer(q.timeout)
	defer timeout.Stop()
	bookmarks := time.NewTicker(bookmarkPeriod)
	defer bookmarks.Stop()
	for {
		s.mu.Lock()
		changed, ended, silent := s.changed, s.life != life, s.silent
		now, events := s.version, s.since(version)
		marks := s.bookmarks
		s.mu.Unlock()
		if !silent {
			if ended {
				return nil
			}
			for _, e := range events {
				version = e.version
				if kind := e.seenBy(q); kind != "" {
					if err := s.send(kind, e.object); err != nil {
						return err
					}
				}
			}
		}
		select {
		case <-changed:
		case <-s.gone:
			return nil
		case <-timeout.C:
			if !silent {
				return nil
			}
		case <-bookmarks.C:
			// A client that is ahead of us is told nothing.
			if !silent && marks && version <= now {
				if err := s.bookmark(q, now, nil); err != nil {
					return err
				}
			}
		}
	}
}

// since are the events after a version.
func (s *Server) since(version uint64) []event {
	i := len(s.events)
	for i > 0 && s.events[i-1].version > version {
		i--
	}
	return s.events[i:len(s.events):len(s.events)]
}

// seenBy is what an event is for those who asked for some objects only; "" if it does not concern them.
func (e event) seenBy(q query) watch.EventType {
	if e.name.resource != q.resource {
		return ""
	}
	is := q.matches(e.name.name, e.object.GetLabels())
	if e.kind != watch.Modified || e.before == nil {
		if is {
			return e.kind
		}
		return ""
	}
	switch was := q.matches(e.name.name, e.before); {
	case was && is:
		return watch.Modified
	case was:
		return watch.Deleted
	case is:
		return watch.Added
	}
	return ""
}

func (s *stream) bookmark(q query, version uint64, annotations map[string]string) error {
	meta := metav1.ObjectMeta{ResourceVersion: strconv.FormatUint(version, 10), Annotations: annotations}
	switch q.resource {
	case EndpointSlices:
		return s.send(watch.Bookmark, &discoveryv1.EndpointSlice{ObjectMeta: meta})
	case Nodes:
		return s.send(watch.Bookmark, &corev1.Node{ObjectMeta: meta})
	}
	return s.send(watch.Bookmark, &corev1.Service{ObjectMeta: meta})
}
