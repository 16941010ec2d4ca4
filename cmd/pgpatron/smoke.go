package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/pgpatron/pgpatron/broker/smoke"
)

func smokeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "smoke-test", Args: cobra.NoArgs,
		Short: "Try a broker: create, bind, write, switch the leader, read, delete",
	}
	s := newSettings(cmd.Flags())
	test := smoke.Test{Broker: &smoke.Client{}}
	var file, ca string
	var limit time.Duration
	s.addFile(&file)
	add(s, "broker", &test.Broker.URL, "http://127.0.0.1:8888", "URL of the broker", text)
	add(s, "broker-ca", &ca, "", "PEM file with the authority of the broker's certificate; default: those of the host", text)
	add(s, "username", &test.Broker.Login.Username, "broker", "the platform's username", text)
	add(s, "password", &test.Broker.Login.Password, "", "the platform's password; better in the environment than here", secret)
	add(s, "plan", &test.Plan, "cluster", "the plan that is tried", text)
	add(s, "timeout", &limit, "15m", "how long all of it may take", duration)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := s.load(file); err != nil {
			return fmt.Errorf("configuration:\n%w", err)
		}
		transport, err := trusting("broker_ca", ca)
		if err != nil {
			return err
		}
		test.Broker.HTTP = &http.Client{Transport: transport, Timeout: 90 * time.Second}
		test.Broker.URL = strings.TrimSuffix(test.Broker.URL, "/")
		test.Out = cmd.OutOrStdout()
		ctx, cancel := context.WithTimeout(cmd.Context(), limit)
		defer cancel()
		return test.Run(ctx)
	}
	return cmd
}
