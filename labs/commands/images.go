package commands

import (
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"sluice/firewall/fault"
	"sluice/labs/guest"
	"sluice/labs/running"
	"sluice/vswitch/cli"
)

// imageCommand is about the images in the cache: each build of this program has one, of about 500 MB with the templates
// that guests are cloned from.
func imageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "image",
		Short: "What guests boot and are cloned from: list it, remove what no lab uses",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(imageListCommand(), imagePruneCommand())
	return cmd
}

func imageListCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "ls",
		Aliases: []string{"list"},
		Short:   "List the images in the cache, those used last first",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			images, err := guest.Images(cmd.Context(), guest.ImageOptions{})
			if err != nil {
				return fault.Errorf(running.ClassOf(err), "list the images: %w", err)
			}
			return out.Print(listOf(images), func(w io.Writer) { writeImages(w, images) })
		},
	}
}

func imagePruneCommand() *cobra.Command {
	var keep int
	cmd := &cobra.Command{
		Use:   "prune",
		Short: "Remove the images and templates that no lab uses; the next deploy makes its own anew",
		Long: "Remove the images and templates that no lab uses; the next deploy makes its own anew, in some seconds.\n" +
			"A deploy does so by itself where they take more than 2 GiB: those used last stay.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			out, err := cli.OutputOf(cmd)
			if err != nil {
				return err
			}
			if keep < 0 {
				return fault.Errorf(fault.BadInput, "--keep %d: give 0 or more", keep)
			}
			gone, err := guest.PruneImages(cmd.Context(), guest.ImageOptions{}, keep)
			if err != nil {
				return fault.Errorf(running.ClassOf(err), "%w", err)
			}
			var bytes int64
			for _, i := range gone {
				bytes += i.Bytes
			}
			out.Note("%d images removed, %s", len(gone), megabytes(bytes))
			return out.Print(listOf(gone), func(w io.Writer) {
				if len(gone) > 0 {
					writeImages(w, gone)
				}
			})
		},
	}
	cmd.Flags().IntVar(&keep, "keep", 0, "how many of those used last stay, though no lab uses them")
	return cmd
}

// listOf is a list also where it is empty: JSON has [] then.
func listOf(images []guest.ImageInfo) []guest.ImageInfo {
	if images == nil {
		return []guest.ImageInfo{}
	}
	return images
}

func writeImages(w io.Writer, images []guest.ImageInfo) {
	grid := cli.NewGrid("IMAGE", "SIZE", "TEMPLATES", "LAST USED", "IN USE")
	for _, i := range images {
		inUse := "no"
		if i.InUse {
			inUse = "yes"
		}
		grid.Row(i.Key, megabytes(i.Bytes), strconv.Itoa(i.Templates), i.Used.Format(time.DateTime), inUse)
	}
	grid.Write(w, "")
}

func megabytes(bytes int64) string { return fmt.Sprintf("%.1f MB", float64(bytes)/1e6) }
