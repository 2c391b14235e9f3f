package apitest

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Fault is what happens to a request instead of its answer, or to that.
type Fault func(s *Server, w http.ResponseWriter, r *http.Request, answer http.HandlerFunc)

// Status answers with a code and nothing else. Without retryAfter there is no such header; it counts seconds.
func Status(code int, retryAfter time.Duration) Fault {
	return func(s *Server, w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
		if retryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(int(retryAfter.Seconds())))
		}
		s.status(w, r, metav1.Status{
			Status: metav1.StatusFailure, Code: int32(code), Reason: reasons[code], Message: fmt.Sprintf("fault %d", code), //nolint:gosec // three digits
		})
	}
}

var reasons = map[int]metav1.StatusReason{
	http.StatusUnauthorized: metav1.StatusReasonUnauthorized, http.StatusForbidden: metav1.StatusReasonForbidden,
	http.StatusGone: metav1.StatusReasonExpired, http.StatusTooManyRequests: metav1.StatusReasonTooManyRequests,
	http.StatusInternalServerError: metav1.StatusReasonInternalError, http.StatusServiceUnavailable: metav1.StatusReasonServiceUnavailable,
}

// Hang never answers.
func Hang(_ *Server, _ http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	<-r.Context().Done()
}

// HangAfterHeaders begins an answer and never ends it.
func HangAfterHeaders(s *Server, w http.ResponseWriter, r *http.Request, _ http.HandlerFunc) {
	w.Header().Set("Content-Type", s.media(r).MediaType)
	w.WriteHeader(http.StatusOK)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// Reset closes the connection without an answer.
func Reset(*Server, http.ResponseWriter, *http.Request, http.HandlerFunc) {
	panic(http.ErrAbortHandler)
}

// HalfAnAnswer closes the connection in the middle of one.
func HalfAnAnswer(_ *Server, w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
	answer(&halved{ResponseWriter: w, left: 200}, r)
	panic(http.ErrAbortHandler)
}

type halved struct {
	http.ResponseWriter
	left int
}

func (h *halved) Write(b []byte) (int, error) {
	n := min(len(b), h.left)
	h.left -= n
	if _, err := h.ResponseWriter.Write(b[:n]); err != nil {
		return 0, err
	}
	if h.left == 0 {
		_ = http.NewResponseController(h.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, nil
}

func (h *halved) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// Slow answers with a few bytes at a time.
func Slow(bytes int, pause time.Duration) Fault {
	return func(_ *Server, w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
		answer(&slow{w, r.Context().Done(), bytes, pause}, r)
	}
}

type slow struct {
	http.ResponseWriter
	gone  <-chan struct{}
	bytes int
	pause time.Duration
}

func (s *slow) Write(b []byte) (int, error) {
	for done := 0; done < len(b); {
		n, err := s.ResponseWriter.Write(b[done:min(len(b), done+s.bytes)])
		done += n
		if err == nil {
			err = http.NewResponseController(s.ResponseWriter).Flush()
		}
		if err != nil {
			return done, err
		}
		select {
		case <-time.After(s.pause):
		case <-s.gone:
			return done, http.ErrAbortHandler
		}
	}
	return len(b), nil
}

func (s *slow) Unwrap() http.ResponseWriter { return s.ResponseWriter }

// EndAtOnce ends every watch before it says anything, and answers lists.
func EndAtOnce(s *Server, w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
	if r.URL.Query().Get("watch") == "" {
		answer(w, r)
		return
	}
	w.Header().Set("Content-Type", s.media(r).MediaType+streamSuffix(s.media(r).MediaType))
	w.WriteHeader(http.StatusOK)
}

// ErrorEvent has every watch say nothing but an error, which has a Retry-After of whole seconds unless that is 0, and answers lists.
func ErrorEvent(code int, retryAfter time.Duration) Fault {
	return func(s *Server, w http.ResponseWriter, r *http.Request, answer http.HandlerFunc) {
		if r.URL.Query().Get("watch") == "" {
			answer(w, r)
			return
		}
		stream, err := s.newStream(w, r)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		_ = stream.fail(metav1.Status{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
			Status:   metav1.StatusFailure, Code: int32(code), Reason: reasons[code], Message: "fault", //nolint:gosec // three digits
			Details: &metav1.StatusDetails{RetryAfterSeconds: int32(retryAfter.Seconds())},
		})
	}
}
