// Package osb is what the Open Service Broker API needs around brokerapi v10:
// logins, checks of requests, what brokerapi has no fields for, and answers.
//
//	osb.Routes(router, broker, logins, log)
//
// The broker's methods return an [Answer] for what the client is to read, and
// use [SetHeader] and [SetField] for what their results have no place for.
package osb

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"

	"code.cloudfoundry.org/lager/v3"
	"github.com/go-chi/chi/v5"
	"github.com/pivotal-cf/brokerapi/v10"
	"github.com/pivotal-cf/brokerapi/v10/domain/apiresponses"
	"github.com/pivotal-cf/brokerapi/v10/middlewares"

	"github.com/pgpatron/pgpatron/state"
)

// Routes adds the API of a broker to a router that serves nothing else, for
// those who have one of the logins.
func Routes(api chi.Router, broker Broker, logins []state.Credentials, log *slog.Logger) {
	logger := lager.NewLogger("broker")
	logger.RegisterSink(lager.NewSlogSink(slog.New(quiet{log.Handler()})))
	api.Use(echoIdentity, Authenticate("pgpatron broker", logins...), checkVersion, Audit(log, platformRequest),
		checkBody, tagCatalog(broker), amend(log), extendCatalog(broker),
		middlewares.AddRequestIdentityToContext, middlewares.AddOriginatingIdentityToContext,
		middlewares.AddCorrelationIDToContext, middlewares.AddInfoLocationToContext)
	brokerapi.AttachRoutes(api, broker, logger)
}

// quiet makes every record a debug one: brokerapi calls each refused request
// an error, ours are for what a person must mend.
type quiet struct{ slog.Handler }

func (q quiet) Enabled(ctx context.Context, _ slog.Level) bool {
	return q.Handler.Enabled(ctx, slog.LevelDebug)
}

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	// Lager's sink hands records over without asking Enabled.
	if !q.Enabled(ctx, r.Level) {
		return nil
	}
	r.Level = slog.LevelDebug
	return q.Handler.Handle(ctx, r)
}

func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }
func (q quiet) WithGroup(name string) slog.Handler       { return quiet{q.Handler.WithGroup(name)} }

// Respond writes an error as the OSB API wants it.
func Respond(w http.ResponseWriter, status int, format string, args ...any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// A client that is gone needs no answer.
	_ = json.NewEncoder(w).Encode(apiresponses.ErrorResponse{Description: fmt.Sprintf(format, args...)})
}

// RawPath makes chi match, and hand out, path segments as they were sent: an
// id may hold an encoded slash.
func RawPath(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.RawPath = r.URL.EscapedPath()
		next.ServeHTTP(w, r)
	})
}
