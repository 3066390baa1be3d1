package android.graphics

import android.content.ContentResolver
import android.net.Uri

class ImageDecoder {
    var allocator = 0

    class Source
    class ImageInfo

    companion object {
        const val ALLOCATOR_SOFTWARE = 1

        fun createSource(resolver: ContentResolver, uri: Uri) = Source()
        fun decodeBitmap(source: Source, listener: (ImageDecoder, ImageInfo, Source) -> Unit): Bitmap {
            listener(ImageDecoder(), ImageInfo(), source)
            return Bitmap(1, 1, Bitmap.Config.ARGB_8888, IntArray(1))
        }
    }
}
