package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/pgpatron/pgpatron/registrar/registry"
	"github.com/pgpatron/pgpatron/state"
)

// asker is the registry's command line: it sends what the API takes and shows
// what the API answers.
type asker struct {
	url       string
	ca        string
	tokenFile string
	output    string
}

func registryCommand() *cobra.Command {
	var a asker
	root := &cobra.Command{
		Use:   "registry",
		Short: "Ask and change the registry: nodes, definitions, deployments, instances",
		Long: "Ask and change the registry of a registrar. KIND is node, definition, deployment or instance.\n" +
			"The token is read from PGPATRON_REGISTRY_TOKEN or from --token-file.",
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.url, "url", envOr("PGPATRON_REGISTRY_URL", "http://127.0.0.1:8889"), "where the registry is [PGPATRON_REGISTRY_URL]")
	flags.StringVar(&a.ca, "ca", envOr("PGPATRON_REGISTRY_CA", ""), "PEM file with the authority of the registry's certificate; default: those of the host [PGPATRON_REGISTRY_CA]")
	flags.StringVar(&a.tokenFile, "token-file", "", "file that holds the token")
	flags.StringVarP(&a.output, "output", "o", "table", "what is printed: table or json")
	root.AddCommand(a.list(), a.get(), a.put(), a.delete(), a.builds())
	return root
}

func envOr(name, otherwise string) string {
	if v, ok := os.LookupEnv(name); ok {
		return v
	}
	return otherwise
}

func (a *asker) list() *cobra.Command {
	filters := map[string]*string{}
	cmd := &cobra.Command{Use: "list KIND", Short: "List all of a kind", Args: cobra.ExactArgs(1)}
	for _, name := range []string{"scheme", "ip", "deploymentId", "host", "path", "id", "slug"} {
		filters[name] = cmd.Flags().String(strings.ToLower(strings.Replace(name, "Id", "-id", 1)), "", "of instances, only those with this "+name)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, err := kindOf(args[0])
		if err != nil {
			return err
		}
		query := url.Values{}
		for name, value := range filters {
			if *value != "" {
				query.Set(name, *value)
			}
		}
		return a.show(cmd, kind, http.MethodGet, registry.Path(kind, "", query), nil)
	}
	return cmd
}

func (a *asker) get() *cobra.Command {
	return a.one("get KIND ID", "Show one of a kind", func(cmd *cobra.Command, kind, id string) error {
		return a.show(cmd, kind, http.MethodGet, registry.Path(kind, id, nil), nil)
	})
}

func (a *asker) delete() *cobra.Command {
	return a.one("delete KIND ID", "Delete one of a kind", func(cmd *cobra.Command, kind, id string) error {
		client, err := a.client()
		if err != nil {
			return err
		}
		return client.Do(cmd.Context(), http.MethodDelete, registry.Path(kind, id, nil), nil, nil)
	})
}

func (a *asker) builds() *cobra.Command {
	return &cobra.Command{
		Use: "builds DEFINITION", Short: "Show how a definition's last builds went", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.show(cmd, "build", http.MethodGet, registry.Path("definition", args[0], nil)+"/builds", nil)
		},
	}
}

func (a *asker) put() *cobra.Command {
	var file string
	cmd := &cobra.Command{Use: "put KIND --file FILE", Short: "Make or change one of a kind", Args: cobra.ExactArgs(1)}
	cmd.Flags().StringVarP(&file, "file", "f", "-", "YAML or JSON of it; - is standard input")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		kind, err := kindOf(args[0])
		if err != nil {
			return err
		}
		entity, err := readEntity(file, cmd.InOrStdin())
		if err != nil {
			return err
		}
		return a.show(cmd, kind, http.MethodPut, strings.TrimSuffix(registry.Path(kind, "", nil), "s"), entity)
	}
	return cmd
}

// one makes a command about one of a kind.
func (a *asker) one(use, short string, run func(cmd *cobra.Command, kind, id string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(2), RunE: func(cmd *cobra.Command, args []string) error {
		kind, err := kindOf(args[0])
		if err != nil {
			return err
		}
		return run(cmd, kind, args[1])
	}}
}

// kindOf takes a kind's name, in singular or plural.
func kindOf(name string) (string, error) {
	kind := strings.TrimSuffix(strings.ToLower(name), "s")
	if !slices.Contains([]string{"node", "definition", "deployment", "instance"}, kind) {
		return "", fmt.Errorf("no such kind: %q; want node, definition, deployment or instance", name)
	}
	return kind, nil
}

// readEntity reads one YAML or JSON object.
func readEntity(file string, stdin io.Reader) (map[string]any, error) {
	var text []byte
	var err error
	if file == "-" {
		text, err = io.ReadAll(stdin)
	} else {
		text, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what to put: %w", err)
	}
	var value any
	if err := yaml.Unmarshal(text, &value); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	entity, ok := value.(map[string]any)
	if !ok {
		return nil, fmt.Errorf("%s: want one YAML or JSON object", file)
	}
	return entity, nil
}

func (a *asker) client() (registry.Client, error) {
	token := os.Getenv("PGPATRON_REGISTRY_TOKEN")
	if a.tokenFile != "" {
		b, err := os.ReadFile(a.tokenFile)
		if err != nil {
			return registry.Client{}, fmt.Errorf("token_file: %w", err)
		}
		token = strings.TrimSpace(string(b))
	}
	if token == "" {
		return registry.Client{}, errors.New("no token: set PGPATRON_REGISTRY_TOKEN, or name a file with --token-file")
	}
	transport, err := trusting("ca", a.ca)
	if err != nil {
		return registry.Client{}, err
	}
	return registry.Client{URL: a.url, Token: state.Secret(token), HTTP: &http.Client{Transport: transport, Timeout: 30 * time.Second}}, nil
}

// show sends a request and prints the answer.
func (a *asker) show(cmd *cobra.Command, kind, method, path string, body any) error {
	if a.output != "table" && a.output != "json" {
		return fmt.Errorf("output: want table or json, got %q", a.output)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	var answer map[string]json.RawMessage
	if err := client.Do(cmd.Context(), method, path, body, &answer); err != nil {
		return err
	}
	return a.print(cmd.OutOrStdout(), kind, answer)
}
