package billing

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

// Print writes a command's answer as --output says: v for scripts, or what table writes for a person.
type Print func(cmd *cobra.Command, v any, table func(io.Writer)) error

// BadInput marks an error as wrong use or wrong input, so that the program ends with 2.
type BadInput func(error) error

// commands is what the commands need of the program that they are part of.
type commands struct {
	print    Print
	badInput BadInput
}

// Command is `sluice billing`.
func Command(print Print, badInput BadInput) *cobra.Command {
	c := commands{print, badInput}
	root := &cobra.Command{
		Use:   "billing",
		Short: "What the order costs in which payments are applied to bills",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddCommand(
		c.book("statement", "Show the account by month", func(b *Book) (any, func(io.Writer)) { s := b.Statement(); return s, s.write }),
		c.book("timeline", "Show each event, and where each payment went", func(b *Book) (any, func(io.Writer)) { t := b.Timeline(); return t, t.write }),
		c.book("rate", "Show what being late cost, as rates for a year", func(b *Book) (any, func(io.Writer)) { t := b.RateTable(); return t, t.write }),
		c.compare(), c.lint(), c.check(), c.serve(),
	)
	return root
}

// book makes a command that shows one side of a scenario's book.
func (c commands) book(name, short string, show func(*Book) (any, func(io.Writer))) *cobra.Command {
	var order string
	cmd := &cobra.Command{
		Use:     name + " FILE",
		Short:   short,
		Example: fmt.Sprintf("  sluice billing %s labs/20-billing/article.yaml --order oldest-first", name),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, o, err := c.load(args[0], order)
			if err != nil {
				return err
			}
			v, table := show(Run(s, o))
			return c.print(cmd, v, table)
		},
	}
	orderFlag(cmd, &order)
	return cmd
}

func orderFlag(cmd *cobra.Command, order *string) {
	cmd.Flags().StringVar(order, "order", "", "instead of the file's: oldest-first, newest-first, pro-rata, or keys like class:rent,age:oldest")
	completeOrder(cmd)
}

func completeOrder(cmd *cobra.Command) {
	cmd.RegisterFlagCompletionFunc("order", cobra.FixedCompletions(orderNames(), cobra.ShellCompDirectiveNoFileComp))
}

// load reads a scenario, and the order that is meant: the file's where none is given.
func (c commands) load(path, order string) (*Scenario, Order, error) {
	s, err := Load(path)
	if err != nil {
		return nil, nil, c.badInput(err)
	}
	if order == "" {
		return s, s.Order, nil
	}
	o, err := ParseOrder(order)
	if err != nil {
		return nil, nil, c.badInput(err)
	}
	return s, o, nil
}

func (c commands) compare() *cobra.Command {
	var also []string
	cmd := &cobra.Command{
		Use:     "compare FILE",
		Short:   "Show what each order leads to, beside each other",
		Example: "  sluice billing compare labs/20-billing/article.yaml --order amount:smallest",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := Load(args[0])
			if err != nil {
				return c.badInput(err)
			}
			var list []Order
			for _, o := range orders {
				list = append(list, o.order)
			}
			list = append(list, s.Order)
			for _, text := range also {
				o, err := ParseOrder(text)
				if err != nil {
					return c.badInput(err)
				}
				list = append(list, o)
			}
			seen := map[string]bool{}
			list = slices.DeleteFunc(list, func(o Order) bool {
				twice := seen[o.String()]
				seen[o.String()] = true
				return twice
			})
			v := Compare(s, list)
			return c.print(cmd, v, v.write)
		},
	}
	cmd.Flags().StringArrayVar(&also, "order", nil, "another order beside those with a name and the file's own; may be given again")
	completeOrder(cmd)
	return cmd
}

// linted is the answer of lint.
type linted struct {
	File  string   `json:"file"`
	Notes []string `json:"notes"`
}

func (c commands) lint() *cobra.Command {
	return &cobra.Command{
		Use:   "lint FILE",
		Short: "Say what is wrong in a scenario, and what is hardly meant",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := Load(args[0])
			if err != nil {
				return c.badInput(err)
			}
			v := linted{s.File, append([]string{}, s.Notes()...)}
			return c.print(cmd, v, func(w io.Writer) {
				fmt.Fprintf(w, "%s: %d charges, %d payments, %d rules, order %s\n", s.File, len(s.Charges), len(s.Payments), len(s.Rules), s.Order)
				for _, n := range v.Notes {
					fmt.Fprintln(w, "note:", n)
				}
			})
		},
	}
}

// The names of the files in a lab's folder that check reads.
const (
	answerFile = "answers.yaml"
	tasksFile  = "tasks.yaml"
)

func (c commands) check() *cobra.Command {
	var tasks string
	cmd := &cobra.Command{
		Use:   "check FOLDER|FILE",
		Short: "Check an answer: a line a task, and where to look",
		Long: "Check an answer: the file, or " + answerFile + " in the folder. The tasks are in " + tasksFile + " beside it, or one folder above.\n" +
			"Exit codes: 0 all passed, 1 something failed, 2 bad input.",
		Example: "  sluice billing check labs/20-billing",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			r, err := checkPath(args[0], tasks)
			if err != nil {
				return c.badInput(err)
			}
			if err := c.print(cmd, r, r.write); err != nil {
				return err
			}
			if n := r.failed(); n > 0 {
				return fmt.Errorf("%d of %d tasks failed", n, len(r.Tasks))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&tasks, "tasks", "", "the task file, if it lies elsewhere")
	cmd.MarkFlagFilename("tasks", "yaml", "yml")
	return cmd
}

func checkPath(answer, tasks string) (Report, error) {
	if info, err := os.Stat(answer); err == nil && info.IsDir() {
		answer = filepath.Join(answer, answerFile)
	}
	a, err := LoadAnswer(answer)
	if err != nil {
		return Report{}, err
	}
	if tasks == "" {
		tasks = filepath.Join(filepath.Dir(answer), tasksFile)
		if _, err := os.Stat(tasks); errors.Is(err, fs.ErrNotExist) {
			tasks = filepath.Join(filepath.Dir(answer), "..", tasksFile)
		}
	}
	t, err := LoadTasks(tasks)
	if errors.Is(err, fs.ErrNotExist) {
		return Report{}, fmt.Errorf("%w; say with --tasks where it is", err)
	}
	if err != nil {
		return Report{}, err
	}
	return t.Check(a), nil
}

func (c commands) serve() *cobra.Command {
	var listen, order string
	cmd := &cobra.Command{
		Use:   "serve FILE",
		Short: "Be a service that can be paid: POST /payments, GET /statement",
		Example: "  sluice billing serve labs/20-billing/article.yaml\n" +
			"  sluice exec server -- sluice billing serve --listen :8080 - <labs/20-billing/article.yaml",
		Args: cobra.ExactArgs(1),

		Annotations: map[string]string{"no-answer": ""}, // its answers go to who pays; see NoAnswer of vswitch/cli
		RunE: func(cmd *cobra.Command, args []string) error {
			s, o, err := c.load(args[0], order)
			if err != nil {
				return err
			}
			l, err := net.Listen("tcp", listen)
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%s: listening on %s\n", s.Title, l.Addr())
			return serve(cmd.Context(), l, NewHandler(s, o))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "127.0.0.1:8080", "address and port")
	cmd.RegisterFlagCompletionFunc("listen", cobra.NoFileCompletions)
	orderFlag(cmd, &order)
	return cmd
}
