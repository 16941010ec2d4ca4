// Command hello is a service for tests: it greets, and ends when told to.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	http.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, os.Getenv("GREETING")) })
	server := &http.Server{Addr: ":8080"}
	context.AfterFunc(ctx, func() { server.Shutdown(context.Background()) })
	fmt.Println(server.ListenAndServe())
}
